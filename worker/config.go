package worker

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/names"
)

// Config configures a Worker. The zero value of a field is its default.
type Config struct {
	// Pool runs all queries. Required. It may go through a transaction pooler. Nine connections are enough for the
	// default number of lanes. Close it after the worker has stopped: the worker keeps one of more than five connections.
	Pool *pgxpool.Pool

	// Direct is the address for sessions that LISTEN and hold advisory locks. Default: the pool's address. If notifications do
	// not come through it (a transaction pooler), the worker polls.
	Direct *pgx.ConnConfig

	// ID names this process in attempted_by and in iu_outbox.worker; unique. Default: host, pid and a random part.
	ID string

	// Version is the program's version, for iu_outbox.worker.
	Version string

	// Registerer registers the worker's metrics; it takes those of one worker. Default: the metrics are not exported.
	Registerer prometheus.Registerer

	// Tracing makes the spans of relay, jobs and emitter. Default: there are none, and subscribers get the application's trace.
	Tracing trace.TracerProvider

	// Logger defaults to slog.Default.
	Logger *slog.Logger

	// Concurrency is how many jobs of the queue events run at once. They share few statements, so many cost little. Default 1000.
	Concurrency int

	// ScaleoutConcurrency is how many jobs of the queue scaleout run at once. Default 200. -1: none.
	ScaleoutConcurrency int

	// Lanes is how many statements that compose live events run at once, each on a connection of the pool. Scale-outs have a
	// quarter as many lanes of their own, at least one. While the outbox or a queue has a backlog, half as many transactions as
	// lanes compose it. Default 4, and less if the pool is small: five of its connections are
	// for a lane of scale-outs, River, the relay and the emitter.
	Lanes int

	// ComposeBy is how instances are composed: ComposeByAuto, in sets if the database allows it, or ComposeByFunction, by a
	// call of the function for each event. Default ComposeByAuto.
	ComposeBy string

	// PollInterval is how often the relay, the emitter and River read their tables if no doorbell rings. While the listener is
	// connected they read them a tenth as often: rows that ring no doorbell wait that long. Default 1 s.
	PollInterval time.Duration

	// SweepInterval is how often the worker checks for parked jobs whose gate is open; while the listener is connected and no job
	// was parked lately, no more often than ten times PollInterval. Default 2 s.
	SweepInterval time.Duration

	// Rate is how many events per second this process composes at most, those of scale-outs included. Default 0: no limit. A
	// worker that stops composes the jobs that it has fetched without a limit.
	Rate int

	// RelayBatch is how many outbox rows become jobs in one transaction. Default 500.
	RelayBatch int

	// EmitBatch is how many emissions get a position in one transaction. Default 500.
	EmitBatch int

	// CompletedRetention, CancelledRetention and DiscardedRetention are how long River keeps jobs that have ended. Defaults 24 h,
	// 24 h and 168 h. -1 keeps them forever. They do not affect dead letters.
	CompletedRetention, CancelledRetention, DiscardedRetention time.Duration

	// EmissionRetention is how long announced emissions are kept. Default 30 days. -1 keeps them forever. An emission is not
	// deleted while a named consumer has not handled it that was active within ConsumerExpiry, default 30 days. Only time in which
	// workers run counts, and after a time without workers nothing is deleted for up to a day.
	EmissionRetention, ConsumerExpiry time.Duration

	// VerifyInterval is how often one of the processes verifies all data. Default 6 h. -1: never.
	VerifyInterval time.Duration

	// Given are the settings that the operators' pages show as given by the user. They must not contain passwords.
	Given []GivenSetting

	// ShutdownTimeout bounds Stop: jobs that take longer than most of it are cut off and run again in another process. Default 20 s.
	ShutdownTimeout time.Duration

	metrics *metrics.Metrics
}

// GivenSetting is a setting that a user gave to the program that runs the worker.
type GivenSetting struct {
	Name    string // without dashes
	Value   string
	Default string
	From    string // the flag or the environment variable; empty if unknown
}

// reserved is how many of the pool's connections are left to a lane of scale-outs, River, the relay and the emitter: jobs that
// wait for locks must not keep the worker from renewing its lease.
const reserved = 5

// The values of Config.ComposeBy.
const (
	ComposeByAuto     = "auto"
	ComposeByFunction = "function"
)

// Defaults returns a Config with the defaults of all settings, which are stated only here.
func Defaults() Config {
	const day = 24 * time.Hour
	return Config{
		Concurrency:         1000,
		ScaleoutConcurrency: 200,
		Lanes:               4,
		ComposeBy:           ComposeByAuto,
		PollInterval:        time.Second,
		SweepInterval:       2 * time.Second,
		RelayBatch:          500,
		EmitBatch:           500,
		CompletedRetention:  day,
		CancelledRetention:  day,
		DiscardedRetention:  7 * day,
		EmissionRetention:   30 * day,
		ConsumerExpiry:      30 * day,
		VerifyInterval:      6 * time.Hour,
		ShutdownTimeout:     20 * time.Second,
	}
}

func (c Config) withDefaults() (Config, error) {
	if c.Pool == nil {
		return c, errors.New("worker: Config.Pool is required")
	}
	if c.Direct == nil {
		c.Direct = c.Pool.Config().ConnConfig.Copy()
	}
	if c.ID == "" {
		c.ID = names.Process()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	c.metrics = metrics.New(c.Registerer)
	c.Version = cmp.Or(c.Version, "unknown")
	d := Defaults()
	c.Concurrency = cmp.Or(c.Concurrency, d.Concurrency)
	c.ScaleoutConcurrency = cmp.Or(c.ScaleoutConcurrency, d.ScaleoutConcurrency)
	c.Lanes = max(1, min(cmp.Or(c.Lanes, d.Lanes), int(c.Pool.Config().MaxConns)-reserved))
	c.ComposeBy = cmp.Or(c.ComposeBy, d.ComposeBy)
	c.PollInterval = cmp.Or(c.PollInterval, d.PollInterval)
	c.SweepInterval = cmp.Or(c.SweepInterval, d.SweepInterval)
	c.RelayBatch = cmp.Or(c.RelayBatch, d.RelayBatch)
	c.EmitBatch = cmp.Or(c.EmitBatch, d.EmitBatch)
	c.CompletedRetention = cmp.Or(c.CompletedRetention, d.CompletedRetention)
	c.CancelledRetention = cmp.Or(c.CancelledRetention, d.CancelledRetention)
	c.DiscardedRetention = cmp.Or(c.DiscardedRetention, d.DiscardedRetention)
	c.EmissionRetention = cmp.Or(c.EmissionRetention, d.EmissionRetention)
	c.ConsumerExpiry = cmp.Or(c.ConsumerExpiry, d.ConsumerExpiry)
	c.VerifyInterval = cmp.Or(c.VerifyInterval, d.VerifyInterval)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, d.ShutdownTimeout)
	return c, nil
}

// scaleoutLanes returns how many statements that compose scale-outs run at once.
func (c Config) scaleoutLanes() int {
	if c.ScaleoutConcurrency < 0 {
		return 0
	}
	return max(1, c.Lanes/4)
}

// relayLanes returns how many transactions of the relay compose at once.
func (c Config) relayLanes() int { return max(1, c.Lanes/2) }

// jobTracer returns the tracer of jobs, never nil.
func (c Config) jobTracer() trace.Tracer {
	if tracer := c.tracer(); tracer != nil {
		return tracer
	}
	return noop.NewTracerProvider().Tracer(compose.TracerName)
}

// tracer returns nil if nothing is traced.
func (c Config) tracer() trace.Tracer {
	if c.Tracing == nil {
		return nil
	}
	return c.Tracing.Tracer(compose.TracerName, trace.WithInstrumentationVersion(c.Version))
}
