package worker_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/worker"
)

// measured returns the sum of a metric over its series with the label's value; for a histogram, the sum of its counts.
func measured(t *testing.T, metrics prometheus.Gatherer, name string, label ...string) (sum float64) {
	t.Helper()
	families, err := metrics.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if len(label) == 0 || labelled(metric, label[0], label[1]) {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func labelled(metric *dto.Metric, name, value string) bool {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name && pair.GetValue() == value {
			return true
		}
	}
	return false
}

func TestMeasuresWhatItDoes(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template, empty := db.Template(t, "t", 1), db.Template(t, "empty", 0)
	registry := metrics.NewRegistry(metrics.Config{Pool: db.Pool, StateInterval: 1})
	start(t, db, func(c *worker.Config) { c.Registerer = registry })
	is := func(want float64, name string, label ...string) {
		t.Helper()
		met := func() bool { return measured(t, registry, name, label...) == want }
		iutest.Eventually(t, met, patience, "%v %s %v", want, name, label)
	}

	for i := range 5 {
		insert(t, db, template, fmt.Sprint("s-", i))
	}
	insert(t, db, empty, "e")
	is(6, "iuworker_relay_rows_total")
	is(6, "iuworker_relay_jobs_total")
	is(5, "iuworker_job_runs_total", "status", "instantiated")
	is(1, "iuworker_job_runs_total", "ending", "cancelled")
	is(6, "iuworker_job_duration_seconds", "queue", "events")
	is(5, "iuworker_event_latency_seconds", "queue", "events")
	is(5, "iuworker_emitter_emissions_total")
	is(5, "iuworker_emission_position")
	is(1, "iuworker_dead_letters", "status", "template_empty")
	is(1, "iuworker_workers_alive")
	is(1, "iuworker_listener_up")
	require.Positive(t, measured(t, registry, "iuworker_compose_batch_events"))

	db.Exec(t, "UPDATE public.dot_config SET value = 'false' WHERE key = 'iu_core.composer_enabled'")
	insert(t, db, template, "parked")
	is(1, "iuworker_parked_jobs", "gate", "composer")
	is(1, "iuworker_job_runs_total", "ending", "parked")
	db.OpenGates(t)
	is(1, "iuworker_resumed_jobs_total")

	const reconnects = "iuworker_listener_reconnects_total"
	before := measured(t, registry, reconnects) // a machine that stalls loses connections
	require.Positive(t, value[int](t, db, terminateWorkers))
	iutest.Eventually(t, func() bool { return measured(t, registry, reconnects) > before }, patience)
	is(1, "iuworker_listener_up")
}
