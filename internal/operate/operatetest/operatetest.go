// Package operatetest has what the tests of several packages below internal/operate need: a database in which a worker has worked.
package operatetest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// Patience is how long a test waits for a condition.
const Patience = 90 * time.Second

// Work runs a worker until stop is called, or the test ends.
func Work(t *testing.T, db *iutest.DB) (stop func()) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), db.URL+"&pool_max_conns=12")
	require.NoError(t, err)
	w, err := worker.New(worker.Config{Pool: pool, Logger: slog.New(slog.DiscardHandler), Concurrency: 50})
	require.NoError(t, err)
	require.NoError(t, w.Start(t.Context()))
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			require.NoError(t, w.Stop(context.WithoutCancel(t.Context())))
			pool.Close()
		}
	}
	t.Cleanup(stop)
	return stop
}

// Idle is a query that is true if every event has ended and every emission was announced.
const Idle = `
	SELECT NOT EXISTS (SELECT FROM iu_outbox.event) AND NOT EXISTS (SELECT FROM iu_outbox.emission WHERE position IS NULL)
		AND NOT EXISTS (SELECT FROM iu_river.river_job WHERE state NOT IN ('completed', 'cancelled', 'discarded'))`

// Say inserts an event, whose id comes from its suffix.
func Say(t *testing.T, db *iutest.DB, template uuid.UUID, suffix string, mode string, actor string) {
	t.Helper()
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor)
		VALUES (md5($2)::uuid, 'e', $1, $2, $3, $4)`, template, suffix, mode, actor)
}

// Lived is a database in which a worker composed five live instances, s1 to s5, and a dry run, dry, and could not
// compose lost.
func Lived(t *testing.T) *iutest.DB {
	t.Helper()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	for i := range 5 {
		Say(t, db, template, fmt.Sprintf("s%d", i+1), "live", "ann")
	}
	Say(t, db, template, "s5", "live", "ann")
	Say(t, db, template, "dry", "dry_run", "bob")
	Say(t, db, uuid.New(), "lost", "live", "ann")
	stop := Work(t, db)
	db.WaitFor(t, Patience, Idle)
	stop()
	return db
}
