package worker

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
)

// Rounds may follow each other at once, while a completion is on its way. A job that was completed meanwhile is not reported.
func TestJobsAreReclaimedNotBeforeAHeartbeat(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `INSERT INTO iu_river.river_job (id, state, kind, queue, max_attempts, args, attempt, attempted_at, attempted_by)
		SELECT g, 'running', 'auto_instantiate', 'events', 10, '{}', 1, now() - interval '5 s', '{w}' FROM generate_series(1, 3) AS g`)
	var log bytes.Buffer
	r := &rescuer{
		tools:  tools{pool: db.Pool, logger: slog.New(slog.NewTextHandler(&log, nil)), metrics: metrics.New(prometheus.NewRegistry())},
		lease:  &lease{id: "w"},
		active: func(id int64) bool { return id == 3 },
	}
	left := []int64{1, 2, 3}
	running := func() (n int) {
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_river.river_job WHERE state = 'running'").Scan(&n))
		return n
	}
	require.NoError(t, r.reclaim(t.Context(), left))
	began := r.left[1]
	require.NoError(t, r.reclaim(t.Context(), left))
	require.Equal(t, 3, running())
	require.Equal(t, map[int64]time.Time{1: began, 2: began}, r.left)

	r.left = map[int64]time.Time{1: began.Add(-heartbeat), 2: began}
	require.NoError(t, r.reclaim(t.Context(), []int64{1}))
	require.Equal(t, 2, running())
	require.Contains(t, log.String(), "jobs=1")
	require.NotContains(t, r.left, int64(2), "it was completed in the end")

	log.Reset()
	r.left[1] = began.Add(-heartbeat)
	require.NoError(t, r.reclaim(t.Context(), []int64{1}))
	require.Empty(t, log.String())
}
