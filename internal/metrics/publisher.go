package metrics

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// PublisherConfig configures a Publisher. The zero value of a field is its default.
type PublisherConfig struct {
	// BrokerUp is asked by each scrape. Nil: the gauge is missing.
	BrokerUp func() bool

	// Version is the program's version.
	Version string

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Publisher are the instruments of a process that publishes to a log. Safe for concurrent use.
type Publisher struct {
	registry           *prometheus.Registry
	logger             *slog.Logger
	events, duplicates prometheus.Counter
	resumes            *prometheus.CounterVec
	acks               prometheus.Observer
}

// NewPublisher returns the instruments, in a registry of their own.
func NewPublisher(cfg PublisherConfig) *Publisher {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := maker{prometheus.NewRegistry()}
	p := &Publisher{
		registry: r.registry, logger: cfg.Logger,
		events:     r.counter("iuworker_publish_events_total"),
		duplicates: r.counter("iuworker_publish_duplicates_total"),
		resumes:    r.counters("iuworker_publish_resumes_total"),
		acks:       r.histogram("iuworker_publish_ack_seconds"),
	}
	for _, reason := range []string{"start", "failed", "moved", "doubt"} {
		p.resumes.WithLabelValues(reason)
	}
	r.gauges("iuworker_build_info").WithLabelValues(cmp.Or(cfg.Version, "unknown")).Set(1)
	r.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if cfg.BrokerUp != nil {
		i := find("iuworker_publish_broker_up")
		r.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: i.Name, Help: i.Help}, func() float64 {
			if cfg.BrokerUp() {
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

// Handler serves the metrics in the format that the scraper asks for.
func (p *Publisher) Handler() http.Handler { return handler(p.registry, p.logger) }

// Gatherer returns the metrics, for programs that serve them with their own.
func (p *Publisher) Gatherer() prometheus.Gatherer { return p.registry }

func handler(registry *prometheus.Registry, logger *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce,
		EnableOpenMetrics:   true,
	})
}
