package worker_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/fleet"
	"github.com/iu-core/iuworker/worker"
)

func TestAWorkerReportsItsSettingsAndLoad(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	pool, err := pgxpool.New(t.Context(), db.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	given := []worker.GivenSetting{{Name: "lanes", Value: "2", Default: "4", From: "--lanes"}}
	w, err := worker.New(worker.Config{
		Pool: pool, ID: "one", Version: "1.2.3", Lanes: 2, Concurrency: 7, ScaleoutConcurrency: -1, EmissionRetention: -1, Given: given,
		ComposeBy: worker.ComposeByFunction,
		Logger:    slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, w.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.Stop(context.WithoutCancel(t.Context()))) })
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.worker_report WHERE load ->> 'hears' = 'listening')")
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_river.river_leader)")
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.lock_holder WHERE class = 26997 AND key = 3 AND NOT shared)")

	var all fleet.Fleet
	require.NoError(t, pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) (err error) {
		all, err = fleet.Read(t.Context(), tx)
		return err
	}))
	require.Len(t, all.Workers, 1)
	one := all.Workers[0]
	require.Equal(t, []fleet.GivenSetting{fleet.GivenSetting(given[0])}, one.Settings.Given)
	require.Equal(t, 7, one.Settings.Concurrency)
	require.Equal(t, -1, one.Settings.ScaleoutConcurrency)
	require.Equal(t, worker.ComposeByFunction, one.Settings.ComposeBy)
	require.InDelta(t, -1, one.Settings.EmissionRetention, 0)
	require.InDelta(t, 86400, one.Settings.CompletedRetention, 0)
	require.Equal(t, fleet.HearsNotifications, one.Load.Hears)
	require.Contains(t, one.Leads, fleet.LeadsRiver)
	require.Contains(t, one.Leads, fleet.LeadsEmitter)

	// A worker that counted as dead reports again after it has rejoined. Its stop deletes the report.
	db.Exec(t, "DELETE FROM iu_outbox.worker")
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.worker_report)")
	require.NoError(t, w.Stop(t.Context()))
	db.WaitFor(t, patience, "SELECT NOT EXISTS (SELECT FROM iu_outbox.worker_report)")
}
