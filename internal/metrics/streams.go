package metrics

import "github.com/prometheus/client_golang/prometheus"

// Streams are the clients that follow the events over HTTP.
type Streams struct {
	Open    int64 // now
	Refused int64 // since the start
	CutOff  int64 // since the start
}

var (
	streamsOpen    = describe("iuworker_event_streams_open")
	streamsRefused = describe("iuworker_event_streams_refused_total")
	streamsCutOff  = describe("iuworker_event_streams_cut_off_total")
)

// ObserveStreams makes each scrape ask read, which must be safe for concurrent use. Call it once at most.
func (m *Metrics) ObserveStreams(read func() Streams) {
	m.registry.MustRegister(streamsCollector(read))
}

type streamsCollector func() Streams

// Describe implements prometheus.Collector.
func (streamsCollector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{streamsOpen, streamsRefused, streamsCutOff} {
		to <- desc
	}
}

// Collect implements prometheus.Collector.
func (read streamsCollector) Collect(to chan<- prometheus.Metric) {
	now := read()
	to <- prometheus.MustNewConstMetric(streamsOpen, prometheus.GaugeValue, float64(now.Open))
	to <- prometheus.MustNewConstMetric(streamsRefused, prometheus.CounterValue, float64(now.Refused))
	to <- prometheus.MustNewConstMetric(streamsCutOff, prometheus.CounterValue, float64(now.CutOff))
}
