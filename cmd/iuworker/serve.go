package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/metrics"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// serve runs a worker and its pages until ctx is done or the pages fail, then stops them. started, if it is not
// nil, is called once the worker works, with the pages' URL; serve goes on when it returns nil.
func (a *app) serve(ctx context.Context, at addresses, f workFlags, who access,
	started func(ctx context.Context, pages string) error,
) (err error) {
	a.ending.allow(f.worker.ShutdownTimeout)
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), at.pool)
	if err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	defer a.stopping(ctx, "the connection pool", pool.Close)
	defer a.rereadAtHangup(ctx, at, who)()
	cfg := a.workerConfig(f, at, pool)
	stopTracing, err := a.trace(ctx, &cfg, f.otlp)
	if err != nil {
		return configured(err)
	}
	defer a.stopping(ctx, "tracing", stopTracing)
	w, err := worker.New(cfg)
	if err != nil {
		return configured(err)
	}
	starting := &starting{w: w, pool: pool, logger: a.logger, migrate: a.migrateFirst(f, at)}
	web := webui.Config{
		Pool: pool, Ready: starting.ready, BasePath: f.basePath, Credentials: who.credentials, Version: iusql.ProgramVersion, Logger: a.logger,
		Metrics: cfg.Metrics.Handler(), Environment: f.environment, Direct: at.direct,
	}
	apart, err := listenForMetrics(ctx, f.metricsAddr, &web)
	if err != nil {
		return configured(err)
	}
	stopMetrics, metricsEnded := a.servePages(ctx, apart)
	defer a.stopping(ctx, "the metrics", stopMetrics)
	events, err := eventstream.New(eventstream.Config{
		Pool: pool, Direct: at.direct, PollInterval: cfg.PollInterval, MaxConnections: f.eventsClients, Logger: a.logger,
	})
	if err != nil {
		return configured(err)
	}
	defer a.stopping(ctx, "the event streams", events.Stop)
	web.Events, web.EventsTokens = events, who.tokens
	cfg.Metrics.ObserveStreams(func() metrics.Streams { return metrics.Streams(events.Stats()) })
	handler, err := webui.New(web)
	if err != nil {
		return configured(err)
	}
	pages, err := webui.Listen(ctx, f.httpAddr, handler) // before anything is started: a taken port is no reason to work
	if err != nil {
		return configured(err)
	}
	stopPages, pagesEnded := a.servePages(ctx, pages)
	defer a.stopping(ctx, "the pages", stopPages)

	if err := starting.run(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stopWorker(ctx, w, f.worker.ShutdownTimeout)) }()
	if err := a.awaitReady(ctx, w); err != nil && started != nil {
		return err
	}
	if started != nil {
		if err := started(ctx, urlOf(pages)); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		go events.Stop() // clients are told to reconnect while the worker drains, not after it
		return nil
	case err := <-pagesEnded:
		return err
	case err := <-metricsEnded:
		return err
	case err := <-w.Failed():
		return err
	}
}

// migrateFirst is the migration that comes before the worker's start; nil without --migrate.
func (a *app) migrateFirst(f workFlags, at addresses) *iusql.Config {
	if !f.migrate {
		return nil
	}
	return &iusql.Config{ConnConfig: at.direct, Logger: a.logger}
}

// workerConfig is the worker's configuration: the flags, where the database is, and what the program gives to all parts.
func (a *app) workerConfig(f workFlags, at addresses, pool *pgxpool.Pool) worker.Config {
	cfg := f.worker
	cfg.Pool, cfg.Direct, cfg.Logger, cfg.Version = pool, at.direct, a.logger, iusql.ProgramVersion
	cfg.Metrics = metrics.New(metrics.Config{Pool: pool, Version: iusql.ProgramVersion, Logger: a.logger})
	cfg.Metrics.ObserveLog(a.stderr.droppedLines)
	return cfg
}

// untilSignal takes an end by SIGTERM or Ctrl-C, however early it came, for what it is: no failure.
func untilSignal(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// servePages serves in the background, beyond the end of ctx: probes are answered while the worker stops. ended says
// why, if it ended by itself.
func (a *app) servePages(ctx context.Context, pages *webui.Server) (stop func(), ended <-chan error) {
	if pages == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	failed := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := pages.Serve(ctx); err != nil {
			failed <- err
		}
	})
	return func() {
		cancel()
		serving.Wait()
	}, failed
}

func urlOf(pages *webui.Server) string {
	if pages == nil {
		return ""
	}
	return pages.URL()
}

// awaitReady waits until the worker is ready, or for some seconds. A worker that is not ready then goes on trying.
func (a *app) awaitReady(ctx context.Context, w *worker.Worker) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := w.Ready(ctx)
		if err == nil {
			a.logger.InfoContext(ctx, "Worker: ready")
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("wait for the worker: %w", ctx.Err())
			}
			a.logger.WarnContext(ctx, "Worker: not ready yet", slog.String("error", err.Error()))
			return fmt.Errorf("the worker did not become ready within %s: %w", readyWithin, err)
		}
	}
}

// stopWorker lets running jobs end, for as long as the worker's configuration says.
func (a *app) stopWorker(ctx context.Context, w *worker.Worker, timeout time.Duration) error {
	a.does("the worker")
	ctx, cancel := a.stopContext(ctx, min(timeout/10, time.Second))
	defer cancel()
	a.logger.InfoContext(ctx, "Worker: stopping")
	if err := w.Stop(ctx); err != nil {
		return err
	}
	a.logger.InfoContext(ctx, "Worker: stopped")
	return nil
}

// stopping stops what runs beside the worker, for as long as the end of the program may last. What is cut off then is
// connections that others opened, and spans.
func (a *app) stopping(ctx context.Context, what string, stop func()) {
	a.does(what)
	ctx, cancel := a.stopContext(ctx, lastStops)
	defer cancel()
	wait(ctx, stop)
}
