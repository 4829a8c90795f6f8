package subscribe_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-02T03:04:05Z":        time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.5+02:00": time.Date(2026, 1, 2, 1, 4, 5, 5e8, time.UTC),
		"0":                           now,
		"90m":                         now.Add(-90 * time.Minute),
		"1h30m":                       now.Add(-90 * time.Minute),
		"30d":                         now.Add(-30 * 24 * time.Hour),
		"1d12h":                       now.Add(-36 * time.Hour),
		"99999d":                      now.Add(-99999 * 24 * time.Hour),
	} {
		got, err := subscribe.ParseSince(text, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%s is %s", text, got)
	}
	for _, text := range []string{
		"", "yesterday", "d", "30", "-5m", "+5m", "1d-5m", "1d+5m", "5m1d", "2026-01-02", "2026-13-02T03:04:05Z",
		"100000d", "99999d2562047h", "9999999h", "1d 2h", "NaNs",
	} {
		_, err := subscribe.ParseSince(text, now)
		require.ErrorIs(t, err, subscribe.ErrBadSince, text)
		require.ErrorContains(t, err, "such as 2026-12-31T18:00:00Z")
	}
}
