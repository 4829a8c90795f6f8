package metrics_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestMain(m *testing.M) { iutest.Main(m) }

// families are the metrics that a scrape finds, by name.
type families map[string]*dto.MetricFamily

func gather(t *testing.T, metrics prometheus.Gatherer) families {
	t.Helper()
	gathered, err := metrics.Gather()
	require.NoError(t, err)
	found := make(families)
	for _, family := range gathered {
		found[family.GetName()] = family
	}
	return found
}

// value returns the integer part of the value of the series with these labels, given as alternating names and values.
func (f families) value(t *testing.T, name string, labels ...string) int64 {
	t.Helper()
	require.Contains(t, f, name)
	for _, metric := range f[name].GetMetric() {
		if !hasLabels(metric, labels) {
			continue
		}
		switch {
		case metric.GetHistogram() != nil:
			return int64(metric.GetHistogram().GetSampleCount())
		case metric.GetCounter() != nil:
			return int64(metric.GetCounter().GetValue())
		default:
			return int64(metric.GetGauge().GetValue())
		}
	}
	require.FailNow(t, "no such series", "%s %v", name, labels)
	return 0
}

func hasLabels(metric *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		var has bool
		for _, pair := range metric.GetLabel() {
			has = has || pair.GetName() == labels[i] && pair.GetValue() == labels[i+1]
		}
		if !has {
			return false
		}
	}
	return true
}
