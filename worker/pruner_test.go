package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

func TestOldEmissionsArePrunedButNotPastAConsumer(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	first := start(t, db)
	for _, suffix := range []string{"a", "b", "c", "d"} {
		insert(t, db, template, suffix)
	}
	eventually(t, db, "SELECT count(*) = 4 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.NoError(t, first.Stop(t.Context()))
	db.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = emitted_at - interval '40 days' WHERE position <= 3")
	db.Exec(t, "SELECT iu_outbox.open_consumer('slow', NULL, 2)")

	db.Exec(t, longAttended)
	start(t, db, func(c *worker.Config) { c.EmissionRetention = 30 * 24 * time.Hour })
	eventually(t, db, "SELECT min(position) = 3 FROM iu_outbox.emission")
	require.Equal(t, 2, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission"), "the consumer at 2 has yet to see 3")
}

// longAttended makes the database look as if workers had run for a long time.
const longAttended = "UPDATE iu_outbox.attendance SET attended = 1e8, resumed = 0, grace = 0, ticked_at = now(), " +
	"epoch = (SELECT epoch FROM iu_outbox.emission_counter)"

// After a month without workers, a start does not prune events that a consumer has not handled.
func TestStartAfterAMonthPrunesNothing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	first := start(t, db)
	for _, suffix := range []string{"a", "b", "c", "d"} {
		insert(t, db, template, suffix)
	}
	eventually(t, db, "SELECT count(*) = 4 FROM iu_outbox.emission WHERE position IS NOT NULL")
	db.Exec(t, "SELECT iu_outbox.open_consumer('mail', NULL, 2), iu_outbox.attend('30 days', '30 days')")
	require.NoError(t, first.Stop(t.Context()))
	db.Exec(t, longAttended)
	db.Exec(t, `
		UPDATE iu_outbox.emission SET emitted_at = emitted_at - interval '31 days';
		UPDATE iu_outbox.consumer SET updated_at = updated_at - interval '31 days';
		UPDATE iu_outbox.consumer_attendance SET moved_at = moved_at - interval '31 days', active = 1e8;
		UPDATE iu_outbox.attendance SET ticked_at = ticked_at - interval '31 days'`)

	log, said := logging(t)
	second := start(t, db, func(c *worker.Config) { c.Logger = log })
	eventually(t, db, "SELECT ticked_at > now() - interval '1 hour' FROM iu_outbox.attendance")
	require.NoError(t, second.Stop(t.Context()), "what it had begun is over")
	require.Equal(t, 4, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission"))
	require.Equal(t, 4, value[int](t, db, "SELECT min(expires_seconds)::int / 86400 / 7 FROM iu_outbox.consumer_status"), "weeks")
	require.Zero(t, said.Count("Pruner:"))
}

func TestExpiryIsToldOnceBeforeAndOnceAfter(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	first := start(t, db)
	for _, suffix := range []string{"a", "b"} {
		insert(t, db, template, suffix)
	}
	eventually(t, db, "SELECT count(*) = 2 FROM iu_outbox.emission WHERE position IS NOT NULL")
	db.Exec(t, "SELECT iu_outbox.open_consumer('soon', NULL, 1), iu_outbox.open_consumer('late', NULL, 0), iu_outbox.open_consumer('well', NULL, 0)")
	db.Exec(t, "SELECT iu_outbox.attend('30 days', '30 days')")
	require.NoError(t, first.Stop(t.Context()))
	db.Exec(t, longAttended)
	db.Exec(t, `
		UPDATE iu_outbox.emission SET emitted_at = emitted_at - interval '31 days';
		UPDATE iu_outbox.consumer_attendance SET active = 1e8 - 86400 * CASE consumer WHEN 'soon' THEN 29.5 WHEN 'late' THEN 31 ELSE 1 END`)
	require.Equal(t, "late,soon", value[string](t, db, "SELECT string_agg(name, ',' ORDER BY name) FROM iu_outbox.consumer_status WHERE expiring"))
	db.Exec(t, "DELETE FROM iu_outbox.consumer WHERE name = 'well'") // it would keep all emissions

	log, said := logging(t)
	start(t, db, func(c *worker.Config) { c.Logger = log })
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission")
	iutest.Eventually(t, func() bool { return said.Count("that this consumer had not handled") == 1 }, patience)
	require.Equal(t, 1, said.Count("consumer=soon"))
	require.Regexp(t, `consumer=soon expires_in=(12h0m|11h5\dm)0s\n`, said.String(), "the worker has run for a moment since")
	require.Equal(t, 2, said.Count("consumer=late"), "before and after")
}
