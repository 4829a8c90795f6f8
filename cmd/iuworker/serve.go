package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	webui "github.com/iu-core/iuworker/riverui"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
	"github.com/iu-core/iuworker/worker/metrics"
)

// serve runs a worker and its pages until ctx is done or the pages fail, then stops them. started, where it is not
// nil, is called once the worker works, with the pages' URL; serve goes on when it returns nil.
func (a *app) serve(ctx context.Context, at addresses, f workFlags, who access,
	started func(ctx context.Context, pages string) error,
) (err error) {
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), at.pool)
	if err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	defer pool.Close()
	cfg := f.worker
	cfg.Pool, cfg.Direct, cfg.Logger, cfg.Version = pool, at.direct, a.logger, iusql.ProgramVersion
	cfg.Metrics = metrics.New(metrics.Config{Pool: pool, Version: iusql.ProgramVersion, Logger: a.logger})
	stopTracing, err := a.trace(ctx, &cfg, f.otlp)
	if err != nil {
		return err
	}
	defer stopTracing()
	w, err := worker.New(cfg)
	if err != nil {
		return err
	}
	web := webui.Config{
		Pool: pool, Ready: w.Ready, BasePath: f.basePath, Credentials: who.credentials, Version: iusql.ProgramVersion, Logger: a.logger,
		Metrics: cfg.Metrics.Handler(),
	}
	apart, err := listenForMetrics(ctx, f.metricsAddr, &web)
	if err != nil {
		return err
	}
	stopMetrics, metricsEnded := a.servePages(ctx, apart)
	defer stopMetrics()
	events, err := webui.NewEvents(webui.EventsConfig{
		Pool: pool, Direct: at.direct, PollInterval: cfg.PollInterval, MaxConnections: f.eventsClients, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	defer events.Stop()
	web.Events, web.EventsTokens = events, who.tokens
	cfg.Metrics.ObserveStreams(func() metrics.Streams { return metrics.Streams(events.Stats()) })
	handler, err := webui.New(web)
	if err != nil {
		return err
	}
	pages, err := webui.Listen(ctx, f.httpAddr, handler) // before anything is started: a taken port is no reason to work
	if err != nil {
		return err
	}
	stopPages, pagesEnded := a.servePages(ctx, pages)
	defer stopPages()

	if err := a.startWorker(ctx, w, pool); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stopWorker(ctx, w)) }()
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
		go events.Stop() // clients are told to come again while the worker drains, not after it
		return nil
	case err := <-pagesEnded:
		return err
	case err := <-metricsEnded:
		return err
	}
}

// untilSignal takes an end by SIGTERM or Ctrl-C, however early it came, for what it is: no failure.
func untilSignal(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// servePages serves in the background, beyond the end of ctx: probes are answered while the worker stops. ended says
// why, where it ended by itself.
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

func (a *app) startWorker(ctx context.Context, w *worker.Worker, pool *pgxpool.Pool) error {
	if err := pool.Ping(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	schema, err := iusql.InspectSchema(ctx, pool)
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	if schema.Newer() {
		a.logger.WarnContext(ctx, "Worker: the schema is newer than this program, and allows it; upgrade the program soon",
			slog.Int64("schema", schema.Version), slog.Int64("program_schema", iusql.SchemaVersion))
	}
	a.logger.InfoContext(ctx, "Worker: started", slog.String("version", iusql.ProgramVersion))
	return nil
}

// awaitReady waits until the worker is ready, or for some seconds. A worker that is not ready then goes on trying.
func (a *app) awaitReady(ctx context.Context, w *worker.Worker) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
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
			return fmt.Errorf("the worker did not get ready within %s: %w", connectTimeout, err)
		}
	}
}

// stopWorker lets running jobs end, for as long as the worker's configuration says.
func (a *app) stopWorker(ctx context.Context, w *worker.Worker) error {
	ctx = context.WithoutCancel(ctx)
	a.logger.InfoContext(ctx, "Worker: stopping")
	if err := w.Stop(ctx); err != nil {
		return fmt.Errorf("stop the worker: %w", err)
	}
	a.logger.InfoContext(ctx, "Worker: stopped")
	return nil
}
