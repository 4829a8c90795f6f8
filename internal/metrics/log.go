package metrics

import "github.com/prometheus/client_golang/prometheus"

// ObserveLog makes each scrape ask how many log lines were dropped since the start. dropped must be safe for concurrent use.
// Call it once at most.
func (m *Metrics) ObserveLog(dropped func() int64) {
	i := find("iuworker_log_lines_dropped_total")
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: i.Name, Help: i.Help}, func() float64 {
		return float64(dropped())
	}))
}
