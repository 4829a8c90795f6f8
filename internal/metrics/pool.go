package metrics

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	poolConnections = describe("iuworker_pool_connections")
	poolMax         = describe("iuworker_pool_connections_max")
	poolAcquires    = describe("iuworker_pool_acquires_total")
	poolWaits       = describe("iuworker_pool_waits_total")
	poolWaited      = describe("iuworker_pool_wait_seconds_total")
)

// poolCollector tells how the connections of a pool are used.
type poolCollector struct{ pool *pgxpool.Pool }

// Describe implements prometheus.Collector.
func (poolCollector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{poolConnections, poolMax, poolAcquires, poolWaits, poolWaited} {
		to <- desc
	}
}

// Collect implements prometheus.Collector.
func (c poolCollector) Collect(to chan<- prometheus.Metric) {
	stat := c.pool.Stat()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	counter := func(desc *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value)
	}
	gauge(poolConnections, float64(stat.AcquiredConns()), "acquired")
	gauge(poolConnections, float64(stat.IdleConns()), "idle")
	gauge(poolConnections, float64(stat.ConstructingConns()), "constructing")
	gauge(poolMax, float64(stat.MaxConns()))
	counter(poolAcquires, float64(stat.AcquireCount()))
	counter(poolWaits, float64(stat.EmptyAcquireCount()))
	counter(poolWaited, stat.EmptyAcquireWaitTime().Seconds())
}
