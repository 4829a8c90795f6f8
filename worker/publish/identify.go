package publish

import (
	"context"
	"fmt"
	"strings"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// Identity is how events of a database name it.
type Identity struct {
	Database string
	Source   string // CloudEvents
}

// Identify returns the identity of a database.
func Identify(ctx context.Context, db subscribe.DB) (Identity, error) {
	var name string
	if err := db.QueryRow(ctx, "SELECT pg_catalog.current_database()").Scan(&name); err != nil {
		return Identity{}, fmt.Errorf("ask for the database's name: %w", err)
	}
	return Identity{Database: name, Source: sourceOf(name)}, nil
}

// sourceOf is iu_outbox.event_source, which a subscriber may not call.
func sourceOf(database string) string { return "/iu-core/" + percentEncode(database, isUnreserved) }

func isUnreserved(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("._~-", c) >= 0
}

func percentEncode(text string, plain func(byte) bool) string {
	clean := true
	for i := range len(text) {
		clean = clean && plain(text[i])
	}
	if clean {
		return text
	}
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; plain(c) {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
