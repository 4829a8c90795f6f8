package metrics_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
)

func TestStateIsTheDatabases(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, "UPDATE public.dot_config SET value = 'false' WHERE key = 'iu_core.auto_instantiate_enabled'")
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, created_at)
		SELECT 'e', $1, 's-' || n, now() - interval '1 hour' FROM generate_series(1, 3) AS n`, template)
	db.Exec(t, "UPDATE public.event_type_registry SET active = false WHERE event_type = 'iu.template.instance_auto_composed'")
	found := gather(t, metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateTimeout: time.Minute}))
	require.EqualValues(t, 1, found.value(t, "iuworker_database_up"))
	require.EqualValues(t, 3, found.value(t, "iuworker_outbox_rows"))
	require.GreaterOrEqual(t, found.value(t, "iuworker_outbox_oldest_age_seconds"), int64(3600))
	require.EqualValues(t, 1, found.value(t, "iuworker_gate_open", "gate", "composer"))
	require.EqualValues(t, 0, found.value(t, "iuworker_gate_open", "gate", "auto-instantiate"))
	require.EqualValues(t, 0, found.value(t, "iuworker_queue_jobs", "queue", "events", "state", "available"))
	require.EqualValues(t, 0, found.value(t, "iuworker_dead_letters", "status", "template_empty"))
	require.EqualValues(t, 0, found.value(t, "iuworker_workers_alive"))
	require.EqualValues(t, 1, found.value(t, "iuworker_emissions_held"))
}

// The depth of the outbox goes on growing beyond the number of rows that are counted.
func TestDepthOfADeepOutbox(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'e', gen_random_uuid(), 's-' || n FROM generate_series(1, 12345) AS n`)
	require.EqualValues(t, 12345, gather(t, metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateTimeout: time.Minute})).value(t, "iuworker_outbox_rows"))
}

func TestConsumersAreBounded(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `
		INSERT INTO iu_outbox.consumer (name, epoch, position)
		SELECT 'c-' || n, c.epoch, 0 FROM iu_outbox.emission_counter AS c, generate_series(1, 80) AS n`)
	db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) VALUES ('lost', 'gone', 7)")
	found := gather(t, metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateTimeout: time.Minute}))
	require.Len(t, found["iuworker_consumer_lost"].GetMetric(), 50)
	require.EqualValues(t, 1, found.value(t, "iuworker_consumer_lost", "consumer", "lost"), "the worst are among them")
	require.Len(t, found["iuworker_consumer_lag_events"].GetMetric(), 49)

	db.Exec(t, "SELECT iu_outbox.attend('30 days', '30 days')")
	db.Exec(t, "UPDATE iu_outbox.attendance SET attended = attended + 29 * 86400, grace = 0")
	db.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 3")
	db.Exec(t, `INSERT INTO iu_outbox.emission (position, instance_collection_id, event, emitted_at)
		SELECT n, gen_random_uuid(), '{}', now() - interval '31 days' FROM generate_series(1, 3) AS n`)
	db.Exec(t, "UPDATE iu_outbox.consumer SET position = 2, updated_at = now() WHERE name = 'c-7'")
	db.Exec(t, "INSERT INTO iu_outbox.consumer_lease VALUES ('c-8', 'p', now() + interval '1 hour')")
	found = gather(t, metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateTimeout: time.Minute}))
	require.Len(t, found["iuworker_consumer_expires_seconds"].GetMetric(), 50)
	require.InDelta(t, 86400, found.value(t, "iuworker_consumer_expires_seconds", "consumer", "c-10"), 60)
	for _, metric := range found["iuworker_consumer_expires_seconds"].GetMetric() {
		require.NotContains(t, []string{"c-7", "c-8", "lost"}, metric.GetLabel()[0].GetValue(), "those that expire first")
	}
}

// The number of dead letters ever created does not shrink if some are dropped.
func TestDeadLettersCreatedOnlyGrows(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	created := func() int64 {
		return gather(t, metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateTimeout: time.Minute})).value(t, "iuworker_dead_letters_created_total")
	}
	require.Zero(t, created())
	db.Exec(t, `INSERT INTO iu_outbox.dead_letter (job_id, status, event, queue, attempts)
		SELECT n, 'invalid_input', '{}', 'events', 1 FROM generate_series(1, 3) AS n`)
	require.EqualValues(t, 3, created())
	db.Exec(t, "DELETE FROM iu_outbox.dead_letter WHERE job_id < 3")
	require.EqualValues(t, 3, created())
}

// Concurrent scrapes share one read, and the next read happens after the interval.
func TestStateIsReadOnceAnInterval(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	registry := metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateInterval: time.Hour, StateTimeout: time.Minute})
	before := db.Pool.Stat().AcquireCount()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := registry.Gather()
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 3, db.Pool.Stat().AcquireCount()-before, "the state, what only metrics have, and the queue of notifications")
	db.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', gen_random_uuid(), 's')")
	require.Zero(t, gather(t, registry).value(t, "iuworker_outbox_rows"))

	fresh := metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateInterval: time.Nanosecond, StateTimeout: time.Minute})
	for i := range 3 {
		require.EqualValues(t, i+1, gather(t, fresh).value(t, "iuworker_outbox_rows"))
		db.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', gen_random_uuid(), $1)", fmt.Sprint(i))
	}
}

// A scrape does not wait for a database that does not respond, and does not show its last state as the current one.
func TestAScrapeDoesNotWaitForTheDatabase(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	registry := metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateInterval: time.Nanosecond, StateTimeout: 2 * time.Second})
	metrics.New(registry)
	isUp := func() bool { return gather(t, registry).value(t, "iuworker_database_up") == 1 }
	iutest.Eventually(t, isUp, time.Minute)
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE iu_outbox.event IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	start := time.Now()
	found := gather(t, registry)
	require.Less(t, time.Since(start), 20*time.Second, "and does not wait for the lock")
	require.EqualValues(t, 0, found.value(t, "iuworker_database_up"))
	require.NotContains(t, found, "iuworker_outbox_rows")
	require.Contains(t, found, "iuworker_relay_rows_total", "what the process counts is there all the same")
	require.NoError(t, tx.Rollback(t.Context()))
	iutest.Eventually(t, isUp, time.Minute)
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?connect_timeout=1")
	require.NoError(t, err)
	defer pool.Close()
	found := gather(t, metrics.NewRegistry(metrics.Config{Pool: pool}))
	require.EqualValues(t, 0, found.value(t, "iuworker_database_up"))
	require.EqualValues(t, 0, found.value(t, "iuworker_pool_connections", "state", "acquired"))
}

// The worker's role has all privileges to read the state.
func TestStateAsTheWorkersRole(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	cfg, err := pgxpool.ParseConfig(db.URL)
	require.NoError(t, err)
	cfg.ConnConfig.RuntimeParams["role"] = "iu_worker"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	found := gather(t, metrics.NewRegistry(metrics.Config{Pool: pool, StateTimeout: time.Minute}))
	require.EqualValues(t, 1, found.value(t, "iuworker_database_up"))
	require.Contains(t, found, "iuworker_notification_queue_usage_ratio")
}
