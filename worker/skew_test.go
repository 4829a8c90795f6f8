package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// Events are composed at once even if the worker's clock differs from the server's. Retries and retentions follow the server's
// clock.
func TestTwoClocks(t *testing.T) {
	t.Parallel()
	for _, off := range []string{"-1h", "-8s", "+8s", "+1h"} {
		t.Run(off, func(t *testing.T) {
			t.Parallel()
			db := iutest.OwnAt(t, off) // the worker knows its clock to within a round trip, which takes seconds on a busy machine
			ahead := time.Since(value[time.Time](t, db, "SELECT clock_timestamp()"))
			require.Greater(t, ahead.Abs(), 4*time.Second, "the server's clock is off")
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			start(t, db)
			took := time.Now()
			insert(t, db, template, "first")
			eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
			if ahead.Abs() > time.Minute { // eight seconds may be what a busy machine takes
				require.Less(t, time.Since(took), time.Minute)
			}
			eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed'")
			require.True(t, value[bool](t, db, `SELECT created_at = scheduled_at AND scheduled_at <= attempted_at
				AND finalized_at >= attempted_at - interval '4 seconds'
				AND finalized_at < clock_timestamp() + interval '4 seconds' FROM iu_river.river_job`))

			// The event is retried, because another session with the same suffix holds the key for a moment.
			conn, err := db.Pool.Acquire(t.Context())
			require.NoError(t, err)
			defer conn.Release()
			_, err = conn.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended('iu_core.auto_instantiate:second', 0))")
			require.NoError(t, err)
			insert(t, db, template, "second")
			var right *bool // NULL: the job runs, and was tried now, long after it was due
			iutest.Eventually(t, func() bool {
				right = value[*bool](t, db, `SELECT (
					SELECT scheduled_at BETWEEN attempted_at - interval '4 seconds' AND clock_timestamp() + interval '65 seconds'
						AND (metadata #>> '{retry,first_at}')::timestamptz
							BETWEEN created_at - interval '4 seconds' AND clock_timestamp() + interval '4 seconds'
					FROM iu_river.river_job WHERE metadata ? 'retry' AND state <> 'running')`)
				return right != nil
			}, patience)
			require.True(t, *right)
			_, err = conn.Exec(t.Context(), "SELECT pg_advisory_unlock_all()")
			require.NoError(t, err)
			eventually(t, db, "SELECT count(*) = 2 FROM iu_outbox.emission WHERE position IS NOT NULL")
		})
	}
}
