package metrics

import (
	"cmp"
	"context"
	_ "embed" // the dashboard and the rules
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// Dashboard is a dashboard for Grafana: import it and choose the Prometheus that scrapes the workers.
//
//go:embed dashboard.json
var Dashboard string

// Alerts are alert rules for Prometheus, a file for rule_files.
//
//go:embed alerts.yaml
var Alerts string

// Config configures a registry. The zero value of a field is its default.
type Config struct {
	// Database is the value of the label database. Default: the name of the pool's database.
	Database string

	// Pool reads the state of the database, and its connections are counted. Default: there are no metrics of either.
	Pool *pgxpool.Pool

	// Ready returns why the worker cannot work, or nil if it can; it is called after each read of the state, within the same
	// StateTimeout. Default: the metric is missing.
	Ready func(ctx context.Context) error

	// StateInterval is the maximum age of the state that a scrape gets. Default 10 s.
	StateInterval time.Duration

	// StateTimeout limits how long a scrape waits for the state. Default 3 s.
	StateTimeout time.Duration

	// Version is the program's version.
	Version string

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Registry holds the metrics about one database: what is registered with it gets the label database.
type Registry struct {
	prometheus.Registerer
	prometheus.Gatherer
}

// NewRegistry returns a registry with the metrics of the state of a database. It does not connect.
func NewRegistry(cfg Config) *Registry {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Database == "" && cfg.Pool != nil {
		cfg.Database = DatabaseOf(cfg.Pool.Config().ConnConfig)
	}
	all := prometheus.NewRegistry()
	name := strings.ToValidUTF8(cfg.Database, "\uFFFD")
	r := &Registry{Registerer: prometheus.WrapRegistererWith(prometheus.Labels{labelDatabase: name}, all), Gatherer: all}
	maker{r}.gauges("iuworker_build_info").WithLabelValues(cmp.Or(cfg.Version, "unknown")).Set(1)
	if cfg.Pool != nil {
		r.MustRegister(poolCollector(cfg.Pool), collector(newState(cfg).collect))
	}
	return r
}

// Away returns the registry of a database that cannot be asked, because its address cannot be used.
func Away(database, version string) *Registry {
	r := NewRegistry(Config{Database: database, Version: version})
	r.MustRegister(collector(func(set setter) {
		set("iuworker_database_up", 0)
		set("iuworker_worker_ready", 0)
	}))
	return r
}

// DatabaseOf returns the name of the database that an address leads to. Without a name in it, that is the user's.
func DatabaseOf(cfg *pgx.ConnConfig) string { return cmp.Or(cfg.Database, cfg.User) }

// NewProcess returns a registry with the metrics of the process, which have no label database. dropped returns how many log lines
// were dropped since the start; it must be safe for concurrent use.
func NewProcess(dropped func() int64) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector(func(set setter) { set("iuworker_log_lines_dropped_total", float64(dropped())) }))
	return r
}

// Together returns what all gatherers have. They gather concurrently: one that waits for its database delays no other.
func Together(all func() []prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		gatherers := all()
		var gathering sync.WaitGroup
		for i, from := range gatherers {
			gathering.Go(func() {
				families, err := from.Gather()
				gatherers[i] = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, err })
			})
		}
		gathering.Wait()
		return prometheus.Gatherers(gatherers).Gather()
	})
}

// Metrics are the instruments of a worker. Its parts call the methods. Safe for concurrent use.
type Metrics struct {
	relayRows, relayJobs, relayMerged prometheus.Counter
	relayBatch, relayTook             prometheus.Observer
	runs                              *prometheus.CounterVec
	runTook, latency                  *prometheus.HistogramVec
	batchEvents, batchTook            prometheus.Observer
	splits, resumed, rescued          prometheus.Counter
	emitted, silent, pruned           prometheus.Counter
	emitBatch, emitTook               prometheus.Observer
	failures                          *prometheus.CounterVec
	reconnects                        prometheus.Counter

	heard                                      atomic.Bool // the listener was up before
	listenerUp                                 *prometheus.GaugeVec
	verified, findings, verifiedAt, verifyTook *prometheus.GaugeVec
}

// New returns the instruments of a worker and registers them. It panics if the registerer already has them.
func New(registerer prometheus.Registerer) *Metrics {
	r := maker{registerer}
	m := &Metrics{
		relayRows:   r.counter("iuworker_relay_rows_total"),
		relayJobs:   r.counter("iuworker_relay_jobs_total"),
		relayMerged: r.counter("iuworker_relay_merged_total"),
		relayBatch:  r.histogram("iuworker_relay_batch_rows"),
		relayTook:   r.histogram("iuworker_relay_batch_duration_seconds"),
		runs:        r.counters("iuworker_job_runs_total"),
		runTook:     r.histograms("iuworker_job_duration_seconds"),
		latency:     r.histograms("iuworker_event_latency_seconds"),
		batchEvents: r.histogram("iuworker_compose_batch_events"),
		batchTook:   r.histogram("iuworker_compose_batch_duration_seconds"),
		splits:      r.counter("iuworker_compose_batch_splits_total"),
		resumed:     r.counter("iuworker_resumed_jobs_total"),
		rescued:     r.counter("iuworker_rescued_jobs_total"),
		emitted:     r.counter("iuworker_emitter_emissions_total"),
		emitBatch:   r.histogram("iuworker_emitter_batch_emissions"),
		emitTook:    r.histogram("iuworker_emitter_batch_duration_seconds"),
		silent:      r.counter("iuworker_emitter_silent_batches_total"),
		pruned:      r.counter("iuworker_pruned_emissions_total"),
		failures:    r.counters("iuworker_part_failures_total"),
		listenerUp:  r.gauges("iuworker_listener_up"),
		reconnects:  r.counter("iuworker_listener_reconnects_total"),
		verified:    r.gauges("iuworker_verify_success"),
		findings:    r.gauges("iuworker_verify_findings"),
		verifiedAt:  r.gauges("iuworker_verify_timestamp_seconds"),
		verifyTook:  r.gauges("iuworker_verify_duration_seconds"),
	}
	m.beginAtZero()
	return m
}

// scrapesAtOnce is the number of concurrent scrapes: more would overload the process.
const scrapesAtOnce = 4

// Handler returns a handler that serves metrics in the format that the scraper asks for.
func Handler(metrics prometheus.Gatherer, logger *slog.Logger) http.Handler {
	return promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce,
		EnableOpenMetrics:   true,
	})
}

// maker makes instruments of the catalog. It panics if a name is not there, which is a bug of this package.
type maker struct{ prometheus.Registerer }

func find(name string) Instrument {
	if i := slices.IndexFunc(catalog, func(i Instrument) bool { return i.Name == name }); i >= 0 {
		return catalog[i]
	}
	panic("metrics: " + name + " is not in the catalog")
}

func (r maker) counters(name string) *prometheus.CounterVec {
	i := find(name)
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: i.Name, Help: i.Help}, i.Labels)
	r.MustRegister(v)
	return v
}

func (r maker) counter(name string) prometheus.Counter { return r.counters(name).WithLabelValues() }

// gauges creates a gauge. A gauge without labels, too, is missing until it is set.
func (r maker) gauges(name string) *prometheus.GaugeVec {
	i := find(name)
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: i.Name, Help: i.Help}, i.Labels)
	r.MustRegister(v)
	return v
}

func (r maker) histograms(name string) *prometheus.HistogramVec {
	i := find(name)
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: i.Name, Help: i.Help, Buckets: bucketsOf(name)}, i.Labels)
	r.MustRegister(v)
	return v
}

func (r maker) histogram(name string) prometheus.Observer {
	return r.histograms(name).WithLabelValues()
}
