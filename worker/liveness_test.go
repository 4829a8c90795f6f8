package worker_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// A process without a heartbeat counts as dead, even if its sessions are open. It detects this before it composes again, and
// continues as a new incarnation.
func TestSleeperIsTakenForDeadAndBeginsAgain(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	victim := spawn(t, db, "victim")
	eventually(t, db, `SELECT EXISTS (SELECT FROM iu_outbox.worker AS w
		WHERE w.session_pid IS NOT NULL AND w.seen_at > w.started_at + interval '500 ms')`) // the lease has been renewed
	number := value[int](t, db, "SELECT lock_key FROM iu_outbox.worker")
	require.NoError(t, victim.Process.Signal(syscall.SIGSTOP))
	// These stand for jobs that the worker had fetched before it was stopped.
	for i := range 5 {
		insert(t, db, template, fmt.Sprint("s-", i))
	}
	start(t, db)
	eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'completed'")
	db.Exec(t, "UPDATE iu_river.river_job SET state = 'running', finalized_at = NULL, attempted_by = '{victim}' WHERE state = 'completed'")
	db.WaitFor(t, 2*patience, "SELECT NOT EXISTS (SELECT FROM iu_outbox.worker WHERE id = 'victim')")
	eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'completed' AND metadata ->> 'released_from' = 'victim'")

	require.NoError(t, victim.Process.Signal(syscall.SIGCONT))
	eventually(t, db, "SELECT EXISTS (SELECT FROM iu_outbox.worker AS w WHERE w.id = 'victim' AND w.session_pid IS NOT NULL AND w.lock_key <> $1)", number)
	require.Equal(t, 5, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
}

// An incarnation that counts as dead composes nothing, and does not write the outcomes of its jobs.
func TestFencedWorkerComposesNothing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	log, lines := logging(t)
	start(t, db, func(c *worker.Config) { c.ID, c.Logger = "fenced", log })
	insert(t, db, template, "first")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed'")

	// The worker counts as dead and another one runs its job. Until it detects that, it may fetch jobs but must not compose.
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'e', $1, 's-' || g FROM generate_series(1, 50) AS g`, template)
	db.Exec(t, "DELETE FROM iu_outbox.worker WHERE id = 'fenced'")
	iutest.Eventually(t, func() bool { return lines.Count("this worker was declared dead") > 0 }, patience)
	eventually(t, db, "SELECT count(*) = 51 FROM iu_river.river_job WHERE state = 'completed' AND errors IS NULL")
	require.Equal(t, 51, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
}

// The network between a worker and the server drops all packets: no session ends, and no statement arrives.
func TestJobsOfASilentMachineGoOnElsewhere(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	release := db.HoldComposing(t)
	link, silence, speak := through(t, db)
	cutOff := start(t, db, func(c *worker.Config) {
		cfg := c.Pool.Config()
		cfg.ConnConfig = link
		pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		c.ID, c.Pool, c.Direct = "silent", pool, link
	})
	t.Cleanup(func() { // it can stop once it reaches the server again
		speak()
		iutest.Eventually(t, func() bool { return cutOff.Ready(context.WithoutCancel(t.Context())) == nil }, patience)
	})
	for i := range 5 {
		insert(t, db, template, fmt.Sprint("s-", i))
	}
	eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'running'")
	silence()
	silent := time.Now()
	start(t, db)
	release()
	db.WaitFor(t, 2*patience, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'completed'")
	t.Logf("jobs of a silent machine went on after %s", time.Since(silent))
	require.Equal(t, 5, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
}

// A worker that starts with the id of a killed worker takes over its jobs at once.
func TestTheSameIDComesBack(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	release := db.HoldComposing(t)
	victim := spawn(t, db, "named")
	for i := range 5 {
		insert(t, db, template, fmt.Sprint("s-", i))
	}
	eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'running'")
	require.NoError(t, victim.Process.Kill())
	release()
	began := time.Now()
	start(t, db, func(c *worker.Config) { c.ID = "named" })
	eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'completed' AND attempt = 1")
	t.Logf("taken over after %s", time.Since(began))
	require.Equal(t, 5, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.worker"))
}

func TestASecondLivingWorkerOfAnIDIsRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"listening", "polling"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			change := func(c *worker.Config) { c.ID = "named" }
			if mode == "polling" {
				direct, err := pgx.ParseConfig(iutest.Empty(t).URL)
				require.NoError(t, err)
				change = func(c *worker.Config) { c.ID, c.Direct = "named", direct }
			}
			start(t, db, change)
			cfg := worker.Config{Pool: workerPool(t, db), Logger: logger(t)}
			change(&cfg)
			second, err := worker.New(cfg)
			require.NoError(t, err)
			require.ErrorIs(t, second.Start(t.Context()), worker.ErrIDTaken)
			eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.worker WHERE seen_at > now() - interval '3 seconds'")
		})
	}
}

// Two processes have the same id: the one that finds the row of another living process must stop.
func TestAWorkerWhoseIDWasTakenSaysSo(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	w := start(t, db, func(c *worker.Config) { c.ID = "named" })
	beating := make(chan struct{})
	t.Cleanup(func() { <-beating })
	ctx := t.Context()
	go func() {
		defer close(beating)
		for ctx.Err() == nil {
			_, _ = db.Pool.Exec(ctx, "UPDATE iu_outbox.worker SET lock_key = 1, seen_at = clock_timestamp()")
		}
	}()
	select {
	case err := <-w.Failed():
		require.ErrorIs(t, err, worker.ErrIDTaken)
	case <-time.After(patience):
		require.FailNow(t, "it goes on")
	}
}

// After the server's clock was set back, older times lie far in the future and are ignored.
func TestTimesInTheFutureAreNotBelieved(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	first := start(t, db)
	for i := range 4 {
		insert(t, db, template, fmt.Sprint("s-", i))
	}
	eventually(t, db, "SELECT count(*) = 4 FROM iu_river.river_job WHERE state = 'completed'")
	require.NoError(t, first.Stop(t.Context()))
	jobs := value[[]int64](t, db, "SELECT array_agg(id) FROM iu_river.river_job")
	db.Exec(t, `INSERT INTO iu_river.river_leader (leader_id, elected_at, expires_at) VALUES ('gone', now() + interval '1 day', now() + interval '1 day')`)
	db.Exec(t, `INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at) VALUES ('ghost', 1, 'h', 1, 'v', now() + interval '1 day')`)
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'running', finalized_at = NULL, attempted_by = '{ghost}',
		attempted_at = now() + interval '1 day' WHERE id = $1`, jobs[0])
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'scheduled', finalized_at = NULL, metadata = '{"retry": {}}',
		scheduled_at = now() + interval '1 day' WHERE id = $1`, jobs[1])
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'available', finalized_at = NULL, scheduled_at = now() + interval '1 day' WHERE id = $1`, jobs[2])
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'scheduled', finalized_at = NULL, metadata = '{}',
		scheduled_at = now() + interval '1 day' WHERE id = $1`, jobs[3])
	start(t, db)
	db.WaitFor(t, 2*patience, "SELECT count(*) = 3 FROM iu_river.river_job WHERE state = 'completed'")
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_river.river_job WHERE state = 'scheduled'"), "what an application put off stays")

	db.Exec(t, "SELECT iu_outbox.open_consumer('c', NULL, NULL)")
	db.Exec(t, "INSERT INTO iu_outbox.consumer_lease (consumer, process, lease_until) VALUES ('c', 'gone', now() + interval '1 day')")
	require.Equal(t, "held", value[string](t, db, "SELECT iu_outbox.hold_consumer('c', 'new', '30 minutes')"))
	require.Equal(t, "taken", value[string](t, db, "SELECT iu_outbox.hold_consumer('c', 'other', '30 minutes')"))
}

// Jobs follow the server's clock. An available job runs even if the clock of the client that inserted it is far ahead.
func TestTimesOfJobsAreTheServers(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	start(t, db)
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed'")
	require.True(t, value[bool](t, db, "SELECT created_at = scheduled_at AND attempted_at >= created_at FROM iu_river.river_job"))

	db.Exec(t, `INSERT INTO iu_river.river_job (args, kind, max_attempts, priority, queue, state, created_at, scheduled_at)
		SELECT args || '{"instance_key_suffix": "ahead"}', kind, max_attempts, priority, queue, 'available', now() + interval '1 day', now() + interval '1 day'
		FROM iu_river.river_job`)
	eventually(t, db, "SELECT count(*) = 2 FROM iu_auto_instantiate_event_log")
}
