package worker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// The test binary runs as a worker process if these variables are set.
const (
	envWorkerID  = "WORKER_TEST_ID"
	envWorkerURL = "WORKER_TEST_URL"
)

func workerProcessID() string { return os.Getenv(envWorkerID) }

func runWorkerProcess(id string) {
	if err := workUntilSigterm(id); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func workUntilSigterm(id string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv(envWorkerURL))
	if err != nil {
		return err
	}
	defer pool.Close()
	w, err := worker.New(worker.Config{Pool: pool, ID: id, Concurrency: 20})
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return w.Stop(context.WithoutCancel(ctx))
}

// spawn starts a worker process and waits until it is registered in the database.
func spawn(t *testing.T, db *iutest.DB, id string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), envWorkerID+"="+id, envWorkerURL+"="+db.URL+"&pool_max_conns=20&application_name=worker")
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has already ended if the test passed
		_ = cmd.Wait()
	})
	eventually(t, db, "SELECT EXISTS (SELECT FROM iu_outbox.worker WHERE id = $1)", id)
	return cmd
}

func TestKilledWorkersJobsGoOnElsewhere(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	release := db.HoldComposing(t)
	victim := spawn(t, db, "victim")
	for i := range 10 {
		insert(t, db, template, fmt.Sprintf("s-%d", i))
	}
	eventually(t, db, "SELECT count(*) = 10 FROM iu_river.river_job WHERE state = 'running'")
	start(t, db)
	require.NoError(t, victim.Process.Kill())
	// The killed worker's sessions still wait in the server for the lock, and hold the keys until their statements end.
	// After release they may even compose, and that counts.
	release()
	eventually(t, db, "SELECT count(*) = 10 FROM iu_river.river_job WHERE state = 'completed'")
	require.Equal(t, 10, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
	eventually(t, db, "SELECT count(*) = 10 FROM iu_outbox.emission WHERE position IS NOT NULL")
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.worker WHERE id = 'victim')")
}

func TestStoppedWorkerKeepsItsJobs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	release := db.HoldComposing(t)
	victim := spawn(t, db, "victim")
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'running'")
	start(t, db)
	require.NoError(t, victim.Process.Signal(syscall.SIGSTOP))
	// It stays stopped for less time than its lease lasts, unless the machine stalls.
	const seen = "SELECT EXISTS (SELECT FROM iu_outbox.worker WHERE id = 'victim' AND seen_at > clock_timestamp() - $1::interval)"
	eventually(t, db, "SELECT NOT ("+seen+")", "6 seconds")
	require.True(t, value[bool](t, db, `SELECT EXISTS (SELECT FROM iu_river.river_job
		WHERE state = 'running' AND attempted_by[cardinality(attempted_by)] = 'victim') OR NOT (`+seen+")", "8 seconds"))
	require.NoError(t, victim.Process.Signal(syscall.SIGCONT))
	release()
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed' AND attempt = 1")
}

// Under load, nothing is lost or duplicated if workers are killed and sessions terminated.
func TestKillsUnderLoad(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 3)
	const rows, kills = 2000, 4
	start(t, db)
	inserted := make(chan error, 1)
	go func() {
		for i := range rows / 10 {
			_, err := db.Pool.Exec(t.Context(), `
				INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
				SELECT md5(($2 * 10 + g)::text)::uuid, 'load', $1, 'load-' || ($2 * 10 + g) FROM generate_series(0, 9) AS g`, template, i)
			if err != nil {
				inserted <- err
				return
			}
		}
		inserted <- nil
	}()
	for k := range kills {
		victim := spawn(t, db, fmt.Sprintf("victim-%d", k))
		done := value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log")
		eventually(t, db, "SELECT count(*) >= least($1::int + 100, $2) FROM iu_auto_instantiate_event_log", done, rows)
		require.NoError(t, victim.Process.Kill())
		db.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'worker'`)
	}
	require.NoError(t, <-inserted)
	eventually(t, db, "SELECT count(*) = $1 FROM iu_outbox.emission WHERE position IS NOT NULL", rows)
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_river.river_job WHERE state <> 'completed')")
	require.Equal(t, rows, value[int](t, db, "SELECT count(DISTINCT idempotency_key)::int FROM iu_auto_instantiate_event_log"))
	require.Equal(t, rows, value[int](t, db, "SELECT count(*)::int FROM iu_piece_collection WHERE collection_key LIKE 'tpl-inst:auto:%'"))
	require.Equal(t, rows, value[int](t, db, "SELECT max(position)::int FROM iu_outbox.emission"))
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
}

func TestJobsWhoseCompletionWasLostAreReclaimed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	start(t, db, func(c *worker.Config) { c.ID = "forgetful" })
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed'")
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'running', finalized_at = NULL, attempted_at = now()`)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed' AND metadata #>> '{output,status}' = 'idempotent_replay'")
}

// Acknowledged commits of producers are composed, although a server that crashes loses hand-offs that it has not flushed.
func TestServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 3)
	start(t, db)
	const kills = 3
	var acknowledged []string
	for k := range kills {
		ended := make(chan []string, 1)
		go func() { ended <- produce(t.Context(), db.URL, template, fmt.Sprint("kill-", k)) }()
		done := value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log")
		eventually(t, db, "SELECT count(*) >= $1::int + 50 FROM iu_auto_instantiate_event_log", done)
		server.Kill()
		acknowledged = append(acknowledged, <-ended...)
		require.NoError(t, server.Restart(t.Context()))
		db.WaitFor(t, patience, "SELECT true")
	}
	eventually(t, db, `SELECT NOT EXISTS (SELECT FROM pg_catalog.unnest($1::text[]) AS a (suffix)
		WHERE NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = 'tpl-inst:auto:' || a.suffix))`, acknowledged)
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_river.river_job WHERE state <> 'completed')")
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.emission WHERE position IS NULL)")
	require.Equal(t,
		value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"), value[int](t, db, "SELECT max(position)::int FROM iu_outbox.emission"))
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
}

// produce inserts single rows until the server is killed, and returns the suffixes whose commits were acknowledged. It lets only
// a few rows wait, so that a slow machine composes them in time.
func produce(ctx context.Context, url string, template uuid.UUID, prefix string) (committed []string) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the server was killed
	if _, err = conn.Exec(ctx, "SET synchronous_commit = on"); err != nil {
		return nil
	}
	for i := 0; ; i++ {
		suffix := fmt.Sprintf("%s-%d", prefix, i)
		done, err := conn.Exec(ctx, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
			SELECT 'e', $1, $2 FROM pg_sleep(0.001)
			WHERE (SELECT count(*) FROM iu_outbox.event) + (SELECT count(*) FROM iu_river.river_job WHERE finalized_at IS NULL) < 500`,
			template, suffix)
		if err != nil {
			return committed
		}
		if done.RowsAffected() == 1 {
			committed = append(committed, suffix)
		}
	}
}
