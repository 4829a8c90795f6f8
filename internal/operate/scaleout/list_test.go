package scaleout_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
)

func TestAScaleoutIsCountedOnFromTheLastReading(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	_, err := scaleout.Start(t.Context(), scaleout.Config{Pool: db.Pool, Template: template, Prefix: "spring", Count: 5000, Actor: "bulk"})
	require.NoError(t, err)
	read := func() scaleout.Line {
		t.Helper()
		lines, err := scaleout.List(t.Context(), db.Pool, 10)
		require.NoError(t, err)
		require.Len(t, lines, 1)
		return lines[0]
	}
	require.Equal(t, int64(5000), read().Waiting)

	end := func(condition string) {
		t.Helper()
		db.Exec(t, `UPDATE iu_river.river_job SET state = 'completed', finalized_at = now()
			WHERE substr(args ->> 'instance_key_suffix', 8)::integer `+condition)
	}
	// Jobs that ended and left nothing, as after a rollback, also count as done.
	end("<= 2500")
	require.Equal(t, int64(2500), read().Done)
	var counted int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT counted FROM iu_outbox.scaleout").Scan(&counted))
	require.Equal(t, 2000, counted, "whole batches are not counted again")
	end("<> 4321")
	require.Equal(t, int64(4999), read().Done)
	end("= 4321")
	l := read()
	require.Equal(t, []any{scaleout.StateFinished, int64(5000)}, []any{l.State, l.Done})
	require.NotNil(t, read().FinishedAt)
}

func TestStartLeavesAnAuditLine(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	cfg := scaleout.Config{Pool: db.Pool, Template: db.Template(t, "letter", 1), Prefix: "spring", Count: 2, Actor: "bulk", By: "ann"}
	_, err := scaleout.Start(t.Context(), cfg)
	require.NoError(t, err)
	cfg.By = "" // the login is the default
	_, err = scaleout.Start(t.Context(), cfg)
	require.NoError(t, err)
	lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
	require.NoError(t, err)
	require.Len(t, lines, 2)
	var login string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT SESSION_USER").Scan(&login))
	require.Equal(t, []string{login, "ann"}, []string{lines[0].Actor, lines[1].Actor})
	require.Equal(t, "scaleout.start", lines[1].Action)
	require.Contains(t, string(lines[1].Detail), `"prefix": "spring"`)
}

func TestTheMeterMeasuresTheLastMinute(t *testing.T) {
	t.Parallel()
	var meter scaleout.Meter
	start := time.Now()
	lines := []scaleout.Line{{Prefix: "a", State: scaleout.StateRunning, Done: 100, Waiting: 900}}
	meter.Measure(lines, start)
	require.Zero(t, lines[0].Rate)
	lines[0].Done, lines[0].Waiting = 300, 700
	meter.Measure(lines, start.Add(10*time.Second))
	require.InDelta(t, 20, lines[0].Rate, 0.001)
	require.InDelta(t, 35, *lines[0].SecondsLeft, 0.001)
	lines[0].Done = 310
	meter.Measure(lines, start.Add(65*time.Second))
	require.InDelta(t, 10.0/55, lines[0].Rate, 0.001, "what is older than a minute is forgotten")
}
