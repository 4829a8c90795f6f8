package publish_test

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestMain(m *testing.M) { iutest.Main(m) }

// The source that a publisher expects is the one that the database writes into events, whatever the database is called.
func TestSource(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	beside := db.Beside(t)
	db.Pool.Close()
	was := db.Name
	for _, name := range []string{"shop", "Shop 1", "ünïcödé", "a/b%c", "~._-", `"quoted"`} {
		beside.Exec(t, "ALTER DATABASE "+pgx.Identifier{was}.Sanitize()+" RENAME TO "+pgx.Identifier{name}.Sanitize())
		was = name
		cfg := beside.Pool.Config().ConnConfig.Copy()
		cfg.Database = name
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		require.NoError(t, err)
		identity, err := publish.Identify(t.Context(), conn)
		require.NoError(t, err)
		require.Equal(t, name, identity.Database)
		var source string
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT iu_outbox.event_source()").Scan(&source))
		require.Equal(t, source, identity.Source)
		require.NoError(t, conn.Close(context.WithoutCancel(t.Context())))
	}
}

// Integers of CloudEvents have 32 bits: a larger position is a string, and nothing else of the text changes.
func TestLargePositionsAreStrings(t *testing.T) {
	t.Parallel()
	for position, want := range map[int64]string{
		math.MaxInt32:     `"position": 2147483647`,
		math.MaxInt32 + 1: `"position": "2147483648"`,
		math.MaxInt64:     `"position": "9223372036854775807"`,
	} {
		digits := strconv.FormatInt(position, 10)
		text := `{"id": "x", "data": {"actor": "\"position\": ` + digits + `", "template_key": "a"}, "position": ` + digits +
			`, "cursor": "0123abcd-` + digits + `", "time": "2026-11-26T10:00:00.000001Z"}`
		event, err := subscribe.ParseEvent([]byte(text))
		require.NoError(t, err)
		message, err := publish.Encode(event, publish.Structured)
		require.NoError(t, err)
		require.True(t, json.Valid(message.Data), string(message.Data))
		require.Equal(t, strings.Replace(text, `"position": `+digits+`,`, want+`,`, 1), string(message.Data))
		require.Equal(t, text, string(event.JSON), "the event itself stays")
		binary, err := publish.Encode(event, publish.Binary)
		require.NoError(t, err)
		require.Contains(t, binary.Attributes, publish.Attribute{Name: "position", Value: digits})
		require.JSONEq(t, `{"actor": "\"position\": `+digits+`", "template_key": "a"}`, string(binary.Data))
	}
}
