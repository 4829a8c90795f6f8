package main

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/iu-core/iuworker/internal/metrics"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// member is a database that the process works on, with all that belongs to it alone: worker, metrics, event streams and pages.
type member struct {
	worker   *worker.Worker
	starting *starting
	registry *metrics.Registry
	events   *eventstream.Handler
	web      webui.Config // of its pages; the caller adds what it serves besides, and makes the handler
}

// memberConfig says what newMember makes.
type memberConfig struct {
	name   string // the label database; "": the database's own name
	at     addresses
	pool   *pgxpool.Pool
	flags  workFlags
	who    access
	logger *slog.Logger
}

// newMember makes a member and starts nothing. Errors are of the configuration. The caller stops worker, events and pool.
func newMember(c memberConfig) (*member, error) {
	m := &member{}
	m.registry = metrics.NewRegistry(metrics.Config{
		Database: c.name, Pool: c.pool, Version: iusql.ProgramVersion, Logger: c.logger,
		Ready: func(ctx context.Context) error { return m.starting.ready(ctx) },
	})
	cfg := c.flags.worker
	cfg.Pool, cfg.Direct, cfg.Logger, cfg.Version, cfg.Registerer = c.pool, c.at.direct, c.logger, iusql.ProgramVersion, m.registry
	var err error
	if m.worker, err = worker.New(cfg); err != nil {
		return nil, configured(err)
	}
	m.starting = &starting{
		waiting: waiting{what: "Worker", logger: c.logger}, w: m.worker, pool: c.pool, logger: c.logger, migrate: c.flags.migrate, direct: c.at.direct,
	}
	m.events, err = eventstream.New(eventstream.Config{
		Pool: c.pool, Direct: c.at.direct, PollInterval: cfg.PollInterval, MaxConnections: c.flags.eventsClients, Logger: c.logger,
	})
	if err != nil {
		return nil, configured(err)
	}
	metrics.ObserveStreams(m.registry, func() metrics.Streams { return metrics.Streams(m.events.Stats()) })
	m.web = webui.Config{
		Pool: c.pool, Direct: c.at.direct, Ready: m.starting.ready, BasePath: c.flags.basePath, Environment: c.flags.environment,
		Credentials: c.who.credentials, Events: m.events, EventsTokens: c.who.tokens, Version: iusql.ProgramVersion, Logger: c.logger,
	}
	return m, nil
}

// gatherer returns the metrics of the process, and of all its databases.
func (a *app) gatherer(databases func() []prometheus.Gatherer) prometheus.Gatherer {
	process := metrics.NewProcess(a.stderr.droppedLines)
	return metrics.Together(func() []prometheus.Gatherer { return append([]prometheus.Gatherer{process}, databases()...) })
}
