package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Regexp(t, `(?m)^notify-payload +event +event +event or cursor +never +what a notification carries`, run(t, on(db), "settings").done(t).out)
	require.Equal(t, "notify-payload is now cursor; it was event (by ann)\n",
		run(t, on(db), "settings", "set", "notify-payload", "cursor", "--actor", "ann").done(t).out)
	require.Regexp(t, `(?m)^notify-payload +cursor +event +event or cursor +by ann, 20`, run(t, on(db), "settings").done(t).out)
	require.Equal(t, settingChanged{Name: "notify-payload", Before: "cursor", Now: "cursor", Actor: systemUser()},
		decode[settingChanged](t, run(t, on(db), "settings", "set", "notify-payload", "cursor", "--json").done(t)))
	require.Contains(t, run(t, on(db), "settings", "set", "notify-payload", "cursor").done(t).out, "was already cursor")
	require.Equal(t, operate.PayloadCursor, decode[[]operate.Setting](t, run(t, on(db), "settings", "--json").done(t))[0].Value)
	lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
	require.NoError(t, err)
	require.Len(t, lines, 1, "what is set already is not set")
	require.Equal(t, "setting.set", lines[0].Action)
	require.Equal(t, "ann", lines[0].Actor)
}

// Notifications only wake our listeners, so they work with any payload.
func TestSubscribersWorkWithCursorsAlone(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	run(t, on(db), "settings", "set", "notify-payload", "cursor").done(t)
	demo := decode[demoResult](t, run(t, on(db), "demo", "--yes", "--json").done(t))
	require.Equal(t, 12, demo.Received)
	for _, order := range demo.Orders {
		require.NotEmpty(t, order.Cursor)
		require.Positive(t, order.AfterMS)
	}
	for _, args := range [][]string{{"--after", "0"}, {"--consumer", "mail"}} {
		out := run(t, on(db), append([]string{"subscribe", "--limit", "12"}, args...)...).done(t).out
		require.Equal(t, 12, strings.Count(out, `"instance_key"`), args)
	}
}
