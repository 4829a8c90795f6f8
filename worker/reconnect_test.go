package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

const terminateWorkers = `
	SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = 'worker'`

func TestSurvivesTerminatedSessions(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	log, lines := logging(t)
	w := start(t, db, func(c *worker.Config) { c.Logger = log })
	for i := range 3 {
		lost := lines.Count("Listener: connection lost")
		require.Positive(t, value[int](t, db, terminateWorkers))
		iutest.Eventually(t, func() bool { return lines.Count("Listener: connection lost") == lost+1 }, patience)
		insert(t, db, template, fmt.Sprintf("s-%d", i))
		eventually(t, db, "SELECT count(*) = $1 FROM iu_outbox.emission WHERE position IS NOT NULL", i+1)
		iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
		require.Equal(t, lines.Count("Listener: connection lost"), lines.Count("Listener: connection is back"), "said once a time, not once a try")
	}
}

func TestEmitterIsTakenOver(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	first := spawn(t, db, "first")
	insert(t, db, template, "a")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	start(t, db)
	require.NoError(t, first.Process.Kill())
	insert(t, db, template, "b")
	eventually(t, db, "SELECT count(*) = 2 FROM iu_outbox.emission WHERE position IS NOT NULL")
}

func TestInactiveRegistryRowHoldsEmissionsBack(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	const registry = "UPDATE event_type_registry SET active = $1 WHERE event_type = 'iu.template.instance_auto_composed'"
	db.Exec(t, registry, false)
	log, lines := logging(t)
	start(t, db, func(c *worker.Config) { c.Logger = log })
	insert(t, db, template, "s")
	eventually(t, db, "SELECT EXISTS (SELECT FROM iu_outbox.emission)")
	iutest.Eventually(t, func() bool { return lines.Count("holding emissions back") == 1 }, patience)
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission WHERE position IS NULL"))
	db.Exec(t, registry, true)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
}

// Instances composed in psql are announced as well. A rollback deletes emissions that are not yet announced.
func TestEmissionOfEveryPath(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	compose := func(n int, actor string) {
		db.Exec(t, "SELECT fn_iu_auto_instantiate_from_event(md5($1)::uuid, 'psql', $2, $1, 'live', $3)", fmt.Sprint("s-", n), template, actor)
	}
	compose(1, "unlucky")
	db.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('unlucky', false)")
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission"))
	start(t, db)
	compose(2, "late")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position = 1")
	db.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('late', false)")
	require.True(t, value[bool](t, db, "SELECT rolled_back_at IS NOT NULL AND event ? 'rolledbackat' FROM iu_outbox.emission WHERE position = 1"))
	compose(2, "again")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position = 2 AND rolled_back_at IS NULL")
}

func TestStopDrainsAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	release := db.HoldComposing(t)
	w, err := worker.New(worker.Config{Pool: workerPool(t, db), Logger: logger(t)})
	require.NoError(t, err)
	require.NoError(t, w.Stop(t.Context()), "stop before start")
	require.ErrorIs(t, w.Ready(t.Context()), worker.ErrNotReady)
	require.NoError(t, w.Start(t.Context()))
	require.Error(t, w.Start(t.Context()), "started once")
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'running'")
	stopped := make(chan error, 2)
	for range 2 {
		go func() { stopped <- w.Stop(context.WithoutCancel(t.Context())) }()
	}
	iutest.Eventually(t, func() bool { return w.Ready(t.Context()) != nil }, patience)
	release()
	require.NoError(t, <-stopped)
	require.NoError(t, <-stopped)
	require.True(t, value[bool](t, db, "SELECT state = 'completed' FROM iu_river.river_job"))
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission WHERE position = 1"), "the last job's instance is announced")
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.worker"))
}

func TestStopCutsOffWhatOutlastsItsTimeout(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	release := db.HoldComposing(t)
	id := insert(t, db, template, "s")
	var stopped error
	for _, timeout := range []time.Duration{2 * time.Second, 20 * time.Second} { // the longer one only if the machine stalls meanwhile
		name := timeout.String()
		w, err := worker.New(worker.Config{Pool: workerPool(t, db), Logger: logger(t), ID: name, ShutdownTimeout: timeout})
		require.NoError(t, err)
		require.NoError(t, w.Start(t.Context()))
		eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'running' AND attempted_by[cardinality(attempted_by)] = $1", name)
		begun := time.Now()
		stopped = w.Stop(t.Context())
		require.Less(t, time.Since(begun), timeout+10*time.Second)
		if stopped == nil {
			break
		}
	}
	require.NoError(t, stopped)
	require.Equal(t, "available", value[string](t, db, "SELECT state::text FROM iu_river.river_job"))
	release()
	start(t, db)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.event_state($1) WHERE state = 'done'", id)
}
