package metrics

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// setter sets an instrument of the catalog for one scrape.
type setter func(name string, value float64, labels ...string)

// collector sets its instruments for each scrape. Safe for concurrent use if the function is.
type collector func(set setter)

// Describe implements prometheus.Collector. The catalog describes all instruments.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	c(func(name string, value float64, labels ...string) {
		i := find(name)
		kind := prometheus.GaugeValue
		if i.Type == typeCounter {
			kind = prometheus.CounterValue
		}
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(i.Name, i.Help, i.Labels, nil), kind, value, labels...)
	})
}

// poolCollector reports how the connections of a pool are used.
func poolCollector(pool *pgxpool.Pool) collector {
	return func(set setter) {
		stat := pool.Stat()
		set("iuworker_pool_connections", float64(stat.AcquiredConns()), "acquired")
		set("iuworker_pool_connections", float64(stat.IdleConns()), "idle")
		set("iuworker_pool_connections", float64(stat.ConstructingConns()), "constructing")
		set("iuworker_pool_connections_max", float64(stat.MaxConns()))
		set("iuworker_pool_acquires_total", float64(stat.AcquireCount()))
		set("iuworker_pool_waits_total", float64(stat.EmptyAcquireCount()))
		set("iuworker_pool_wait_seconds_total", stat.EmptyAcquireWaitTime().Seconds())
	}
}

// Streams counts the clients that follow the events over HTTP.
type Streams struct {
	Open    int64 // now
	Refused int64 // since the start
	CutOff  int64 // since the start
}

// ObserveStreams makes each scrape call read, which must be safe for concurrent use. Call it at most once for a registerer.
func ObserveStreams(registerer prometheus.Registerer, read func() Streams) {
	registerer.MustRegister(collector(func(set setter) {
		now := read()
		set("iuworker_event_streams_open", float64(now.Open))
		set("iuworker_event_streams_refused_total", float64(now.Refused))
		set("iuworker_event_streams_cut_off_total", float64(now.CutOff))
	}))
}
