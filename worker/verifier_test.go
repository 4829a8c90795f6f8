package worker_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// One of two workers verifies, and reports its findings in its metrics and its log.
func TestVerifiesNowAndThen(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	all := make([]*prometheus.Registry, 2)
	var lines *iutest.Log
	var log *slog.Logger
	log, lines = logging(t)
	for i := range all {
		all[i] = prometheus.NewRegistry()
		start(t, db, func(c *worker.Config) { c.Registerer, c.Logger, c.VerifyInterval = all[i], log, 50*time.Millisecond })
	}
	sum := func(name string) float64 { return measured(t, all[0], name) + measured(t, all[1], name) }
	for i := range 3 {
		insert(t, db, template, fmt.Sprint("s-", i))
	}
	eventually(t, db, "SELECT count(*) = 3 FROM iu_outbox.emission WHERE position IS NOT NULL")
	iutest.Eventually(t, func() bool { return sum("iuworker_verify_success") == 1 }, patience)
	require.Zero(t, sum("iuworker_verify_findings"))

	// An emission is lost, which only a person or a broken disk could cause.
	db.Exec(t, "DELETE FROM iu_outbox.emission WHERE position = 2")
	iutest.Eventually(t, func() bool { return sum("iuworker_verify_findings") > 0 }, patience)
	require.Zero(t, sum("iuworker_verify_success"))
	iutest.Eventually(t, func() bool { return lines.Count("Verifier: data does not agree") > 0 }, patience)
	require.Zero(t, measured(t, all[0], "iuworker_verify_timestamp_seconds")*measured(t, all[1], "iuworker_verify_timestamp_seconds"), "one of them does it")
}
