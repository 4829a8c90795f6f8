package webui_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// A cookie that was changed in any way is refused.
func FuzzSession(f *testing.F) {
	pool, err := pgxpool.New(f.Context(), "postgres://127.0.0.1:1/none") // never used
	require.NoError(f, err)
	f.Cleanup(pool.Close)
	users, err := webui.ParseCredentials("viewer:vera:only looking")
	require.NoError(f, err)
	handler, err := webui.New(webui.Config{Pool: pool, Credentials: users})
	require.NoError(f, err)
	ours := handler.Session("vera", time.Now().Add(time.Hour))
	require.True(f, handler.KnowsSession(ours))
	f.Add(0, "x")
	f.Add(len(ours), "")
	f.Add(7, ".")
	f.Fuzz(func(t *testing.T, at int, with string) {
		at = max(0, min(at, len(ours)))
		for _, changed := range []string{ours[:at] + with + ours[at:], ours[:at] + with, with + ours[at:], with} {
			if changed != ours && handler.KnowsSession(changed) {
				t.Fatalf("took %q for %q", changed, ours)
			}
		}
	})
}
