package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Publisher are the instruments of a process that publishes to a log. Safe for concurrent use.
type Publisher struct {
	events, duplicates prometheus.Counter
	resumes            *prometheus.CounterVec
	acks               prometheus.Observer
}

// NewPublisher returns the instruments of a publisher and registers them. Each scrape calls brokerUp; nil: the gauge is missing.
func NewPublisher(registerer prometheus.Registerer, brokerUp func() bool) *Publisher {
	r := maker{registerer}
	p := &Publisher{
		events:     r.counter("iuworker_publish_events_total"),
		duplicates: r.counter("iuworker_publish_duplicates_total"),
		resumes:    r.counters("iuworker_publish_resumes_total"),
		acks:       r.histogram("iuworker_publish_ack_seconds"),
	}
	for _, reason := range []string{"start", "failed", "moved", "doubt"} {
		p.resumes.WithLabelValues(reason)
	}
	if brokerUp != nil {
		i := find("iuworker_publish_broker_up")
		registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: i.Name, Help: i.Help}, func() float64 {
			if brokerUp() {
				return 1
			}
			return 0
		}))
	}
	return p
}

// Duplicate counts a message that the log had before.
func (p *Publisher) Duplicate() { p.duplicates.Inc() }

// Resumed counts that the log was asked where to continue.
func (p *Publisher) Resumed(reason string) { p.resumes.WithLabelValues(reason).Inc() }

// Acknowledged counts events that the log acknowledged, and how long that took: a message, or a transaction.
func (p *Publisher) Acknowledged(events int, took time.Duration) {
	p.events.Add(float64(events))
	p.acks.Observe(took.Seconds())
}
