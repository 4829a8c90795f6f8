package iusql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const (
	attend = "SELECT iu_outbox.attend('30 days', '30 days')"

	// away31Days shifts all times, as if the system had been switched off 31 days ago while all was well.
	away31Days = `
		UPDATE iu_outbox.emission SET emitted_at = emitted_at - interval '31 days';
		UPDATE iu_outbox.consumer SET updated_at = updated_at - interval '31 days';
		UPDATE iu_outbox.consumer_lease SET lease_until = lease_until - interval '31 days';
		UPDATE iu_outbox.consumer_attendance SET moved_at = moved_at - interval '31 days', lease_until = lease_until - interval '31 days';
		UPDATE iu_outbox.attendance SET ticked_at = ticked_at - interval '31 days'`
)

// retained returns a database with announced events and a consumer that has handled the first two.
func retained(t *testing.T, events int) *composer {
	t.Helper()
	c := composing(t)
	for range events {
		c.announce(t, false)
	}
	c.Exec(t, "SELECT iu_outbox.open_consumer('mail', NULL, 2), iu_outbox.hold_consumer('mail', 'p', '1 second')")
	c.Exec(t, "UPDATE iu_outbox.consumer_lease SET lease_until = now()")
	c.Exec(t, attend)
	c.Exec(t, "UPDATE iu_outbox.attendance SET attended = 1e6, resumed = 0, grace = 0") // no grace is left
	c.Exec(t, "UPDATE iu_outbox.consumer_attendance SET active = 1e6")
	return c
}

func one[T any](t *testing.T, db *iutest.DB, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.Pool.QueryRow(t.Context(), query, args...).Scan(&v), query)
	return v
}

func prune(t *testing.T, db *iutest.DB) int {
	t.Helper()
	return one[int](t, db, "SELECT iu_outbox.prune_emissions('30 days', '30 days', 100)")
}

// attended advances attended time by hours.
func attended(t *testing.T, db *iutest.DB, hours float64) {
	t.Helper()
	db.Exec(t, "UPDATE iu_outbox.attendance SET attended = attended + $1::float8 * 3600", hours)
}

func TestAbsenceOfTheSystemIsNoInactivity(t *testing.T) {
	t.Parallel()
	c := retained(t, 4)
	c.Exec(t, away31Days)
	c.Exec(t, attend)
	require.Zero(t, prune(t, c.DB), "in the first second")
	attended(t, c.DB, 23.9)
	require.Zero(t, prune(t, c.DB), "readers without a name get a day, too")
	attended(t, c.DB, 0.2)
	require.Equal(t, 2, prune(t, c.DB), "what the consumer has handled")
	attended(t, c.DB, 28*24)
	require.Zero(t, prune(t, c.DB))
	attended(t, c.DB, 2*24)
	require.Equal(t, 2, prune(t, c.DB), "30 days of attended time are inactivity")
}

func TestGaps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change string
		passes float64 // seconds of attended time
		grace  float64
	}{
		"a minute":                   {"UPDATE iu_outbox.attendance SET ticked_at = now() - interval '60 s'", 60, 0},
		"ten minutes":                {"UPDATE iu_outbox.attendance SET ticked_at = now() - interval '600 s'", 120, 480},
		"a month, or a clock jump":   {"UPDATE iu_outbox.attendance SET ticked_at = now() - interval '31 days'", 120, 86400},
		"a clock that was set back":  {"UPDATE iu_outbox.attendance SET ticked_at = now() + interval '40 days'", 0, 86400},
		"an hour, in a longer grace": {"UPDATE iu_outbox.attendance SET ticked_at = now() - interval '1 hour', grace = 80000, resumed = attended", 120, 79880},
		"a new epoch":                {"SELECT iu_outbox.begin_epoch()", 0, 86400},
		"a first start":              {"UPDATE iu_outbox.attendance SET ticked_at = NULL", 0, 86400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := retained(t, 1)
			c.Exec(t, test.change)
			before := one[float64](t, c.DB, "SELECT attended FROM iu_outbox.attendance")
			c.Exec(t, attend)
			const slack = 30 // seconds that the statements themselves may take
			require.InDelta(t, test.passes, one[float64](t, c.DB, "SELECT attended FROM iu_outbox.attendance")-before, slack)
			require.InDelta(t, test.grace, one[float64](t, c.DB, "SELECT GREATEST(grace - (attended - resumed), 0) FROM iu_outbox.attendance"), slack)
		})
	}
}

// Any activity of a consumer counts, and the server's clock does not.
func TestConsumersExpireByAttendedTime(t *testing.T) {
	t.Parallel()
	c := retained(t, 4)
	c.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = emitted_at - interval '31 days'")
	status := func() []string {
		return rows(t, c.DB, "SELECT concat_ws(' ', (expires_seconds / 3600)::int, expiring) FROM iu_outbox.consumer_status")
	}
	require.Equal(t, []string{"720 f"}, status())
	attended(t, c.DB, 29*24+1)
	require.Equal(t, []string{"23 t"}, status(), "told a day before")
	require.Equal(t, 2, prune(t, c.DB))
	for what, act := range map[string]string{
		"it moves": "UPDATE iu_outbox.consumer SET position = position, updated_at = updated_at + interval '1 us'",
		"its clock was set back": "UPDATE iu_outbox.consumer_lease SET lease_until = lease_until - interval '5 years'; " +
			"UPDATE iu_outbox.consumer SET updated_at = updated_at - interval '5 years'",
		"a process takes it up": "SELECT iu_outbox.hold_consumer('mail', 'q', '0 s')",
	} {
		c.Exec(t, act)
		require.Equal(t, []string{"720 f"}, status(), what)
		require.Zero(t, prune(t, c.DB), what)
		c.Exec(t, attend)
		attended(t, c.DB, 29*24+1)
		require.Equal(t, []string{"23 t"}, status(), what)
	}
	c.Exec(t, "SELECT iu_outbox.hold_consumer('mail', 'q', '1 hour')")
	require.Equal(t, []string{"f"}, status(), "a process works for it")
}

func TestTheShortestRetentionCounts(t *testing.T) {
	t.Parallel()
	c := retained(t, 1)
	agreed := func(retention, expiry any) string {
		c.Exec(t, "SELECT iu_outbox.attend($1, $2)", retention, expiry)
		return one[string](t, c.DB, "SELECT concat_ws(' ', retention, consumer_expiry) FROM iu_outbox.attendance")
	}
	require.Equal(t, "2592000 2592000", agreed("30 days", "30 days"))
	require.Equal(t, "86400 2592000", agreed("1 day", "30 days"))
	require.Equal(t, "86400 2592000", agreed("30 days", "30 days"))
	require.Equal(t, "86400 3600", agreed("30 days", "1 hour"))
	attended(t, c.DB, 0.1)
	require.Equal(t, "2592000 2592000", agreed("30 days", "30 days"), "the others are gone")
	attended(t, c.DB, 0.1)
	require.Empty(t, agreed(nil, nil), "all is kept")
	require.Equal(t, []string{"f"}, rows(t, c.DB, "SELECT concat_ws(' ', expires_seconds, expiring) FROM iu_outbox.consumer_status"))
}
