package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/worker"
)

// The rate limits both queues together in each window of time, and all events are composed.
func TestRateBoundsComposing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	const each = 60
	for n := range each {
		insert(t, db, template, fmt.Sprint("s-", n))
	}
	_, err := scaleout.Start(t.Context(), scaleout.Config{Pool: db.Pool, Template: template, Prefix: "bulk", Count: each, Actor: "a"})
	require.NoError(t, err)
	start(t, db, func(c *worker.Config) { c.Rate, c.Concurrency, c.ScaleoutConcurrency = 20, 0, 0 })
	db.WaitFor(t, patience, "SELECT count(*) = $1 FROM iu_auto_instantiate_event_log", 2*each)

	// A burst is two events. On a busy machine a transaction may begin a second late.
	var tooMany int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		WITH composed AS (SELECT created_at AS at, row_number() OVER (ORDER BY created_at) AS n FROM iu_auto_instantiate_event_log)
		SELECT count(*) FROM composed AS a JOIN composed AS b ON b.n > a.n
		WHERE b.n - a.n + 1 > 20 * (extract(epoch FROM b.at - a.at) + 1) + 2`).Scan(&tooMany))
	require.Zero(t, tooMany)
	db.WaitFor(t, patience, "SELECT count(*) = $1 FROM iu_river.river_job WHERE state = 'completed' AND attempt = 1 AND errors IS NULL", 2*each)
}

// A worker that waits because of its rate stops at once, and another one composes the rest.
func TestRateDoesNotDelayAStop(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	const events = 30
	for n := range events {
		insert(t, db, template, fmt.Sprint("s-", n))
	}
	slow := start(t, db, func(c *worker.Config) { c.Rate, c.ShutdownTimeout = 1, time.Minute })
	db.WaitFor(t, patience, "SELECT count(*) > 1 FROM iu_auto_instantiate_event_log")
	require.NoError(t, slow.Stop(t.Context()))
	db.WaitFor(t, patience, "SELECT count(*) < $1 FROM iu_auto_instantiate_event_log", events)
	db.WaitFor(t, patience, "SELECT count(*) = 0 FROM iu_river.river_job WHERE state = 'running'")
	start(t, db)
	db.WaitFor(t, patience, "SELECT count(*) = $1 FROM iu_auto_instantiate_event_log", events)
}
