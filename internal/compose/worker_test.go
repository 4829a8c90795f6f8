package compose_test

import (
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

// A job with a key that does not match its event is refused before anything is composed. Other programs can insert such jobs.
func TestTheWorkerRefusesAKeyThatDoesNotMatch(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	driver, config := riverpgxv5.New(db.Pool), &river.Config{Schema: jobs.RiverSchema}
	worker := rivertest.NewWorker(t, driver, config, compose.NewWorker(compose.WorkerConfig{
		Events: batcher(t, db, 1), Hold: &compose.Hold{}, Observe: func(compose.Outcome) {}, Now: time.Now,
		Tracer: noop.NewTracerProvider().Tracer(""),
	}))
	client, err := river.NewClient(driver, config)
	require.NoError(t, err)
	for _, key := range []string{"", "order-1", strings.Repeat("0", 32)} {
		inserted, err := client.Insert(t.Context(), event(db.Template(t, "t"+key, 1), "s"+key), nil)
		require.NoError(t, err)
		job := inserted.Job
		db.Exec(t, "UPDATE iu_river.river_job SET args = jsonb_set(args, '{idempotency_key}', to_jsonb($2::text)) WHERE id = $1", job.ID, key)
		tx, err := db.Pool.Begin(t.Context())
		require.NoError(t, err)
		result, err := worker.WorkJob(t.Context(), t, tx, job)
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobCancelled, result.EventKind)
		require.Contains(t, string(result.Job.Metadata), "invalid_input")
		require.NoError(t, tx.Rollback(t.Context()))
	}
	instances, _ := count(t, db)
	require.Zero(t, instances)
}
