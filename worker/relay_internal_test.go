package worker

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/iutest"
)

// The pool may replace the connection that the relay has kept for long enough. Until then the relay gets the same one again.
func TestRelayKeepsTheSameConnectionAgain(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	cfg := db.Pool.Config()
	dbsession.PreparePool(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	batcher := compose.NewBatcher(compose.BatcherConfig{Pool: pool, Lanes: 1})
	t.Cleanup(batcher.Close)
	r := &relay{
		tools: tools{pool: pool}, keeps: true, by: func() compose.Incarnation { return compose.Incarnation{} },
		work: compose.NewWorker(compose.WorkerConfig{Events: batcher, Scaleouts: batcher, Hold: &compose.Hold{}}),
	}
	defer r.giveBack()
	composeAlone := func() {
		_, err := r.composeAlone(t.Context())
		require.NoError(t, err)
	}
	composeAlone()
	kept := r.kept.Conn()
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(pgx.Tx) error { return nil })) // opens another connection
	require.EqualValues(t, 2, pool.Stat().TotalConns())
	iutest.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 1 }, time.Minute) // the pool takes it back in the background

	r.keptSince = time.Now().Add(-keepFor)
	composeAlone()
	require.Nil(t, r.kept)
	iutest.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 0 }, time.Minute)
	composeAlone()
	require.Same(t, kept, r.kept.Conn())
}
