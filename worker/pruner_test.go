package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/sql/iutest"
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

	start(t, db, func(c *worker.Config) { c.EmissionRetention = 30 * 24 * time.Hour })
	eventually(t, db, "SELECT min(position) = 3 FROM iu_outbox.emission")
	require.Equal(t, 2, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission"), "the consumer at 2 has yet to see 3")
}
