package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/retry"
	webui "github.com/iu-core/iuworker/riverui"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// serve runs a worker and its pages until ctx is done or one of them fails, then stops them. If started is not nil, serve
// calls it with the URL of the pages when the worker works, and stops if it fails.
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
	stopTracing, err := a.trace(ctx, &f.worker, f.otlp)
	if err != nil {
		return configured(err)
	}
	defer a.stopping(ctx, "tracing", stopTracing)
	m, err := newMember(memberConfig{name: f.databaseName, at: at, pool: pool, flags: f, who: who, logger: a.logger})
	if err != nil {
		return err
	}
	defer a.stopping(ctx, "the event streams", m.events.Stop)
	m.web.Metrics = metrics.Handler(a.gatherer(func() []prometheus.Gatherer { return []prometheus.Gatherer{m.registry} }), a.logger)
	m.web.MetricsTokens, m.web.MetricsOpen = who.metrics, f.metrics.open
	pages, failed, stopPages, err := a.servePages(ctx, f, m.web)
	if err != nil {
		return err
	}
	defer stopPages()

	if err := m.starting.run(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stopWorker(ctx, m.worker, f.worker.ShutdownTimeout)) }()
	if started == nil {
		watching, end := context.WithCancel(ctx)
		defer end()
		go a.tellReady(watching, m.worker, readyWithin, a.logger)
	} else {
		if err := a.awaitReady(ctx, m.worker, demoPatience, a.logger); err != nil {
			return err
		}
		if err := started(ctx, urlOf(pages)); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		go m.events.Stop() // tells clients to reconnect while the worker drains, not after it
		return nil
	case err := <-failed:
		return err
	case err := <-m.worker.Failed():
		return err
	}
}

// servePages listens for the pages, and for the metrics if they have an address of their own, and serves them until stop. A server
// that fails sends its error to failed. It listens before anything else starts: if a port is taken, nothing runs.
func (a *app) servePages(ctx context.Context, f workFlags, web webui.Config) (pages *webui.Server, failed <-chan error, stop func(), err error) {
	failures := make(chan error, 2)
	apart, err := listenForMetrics(ctx, f.metricsAddr, &web)
	if err != nil {
		return nil, nil, nil, configured(err)
	}
	stopMetrics := serveInBackground(ctx, apart, failures)
	handler, err := webui.New(web)
	if err == nil {
		pages, err = webui.Listen(ctx, f.httpAddr, handler)
	}
	if err != nil {
		a.stopping(ctx, "the metrics", stopMetrics)
		return nil, nil, nil, configured(err)
	}
	stopPages := serveInBackground(ctx, pages, failures)
	return pages, failures, func() {
		a.stopping(ctx, "the pages", stopPages)
		a.stopping(ctx, "the metrics", stopMetrics)
	}, nil
}

// untilSignal returns nil for an end by SIGTERM or Ctrl-C, which is no failure.
func untilSignal(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// serveInBackground serves until stop, even after ctx is done: probes get replies while the worker stops. A server
// that fails sends its error to failed.
func serveInBackground(ctx context.Context, pages *webui.Server, failed chan<- error) (stop func()) {
	if pages == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := pages.Serve(ctx); err != nil {
			failed <- err
		}
	})
	return func() {
		cancel()
		serving.Wait()
	}
}

func urlOf(pages *webui.Server) string {
	if pages == nil {
		return ""
	}
	return pages.URL()
}

// tellReady logs when the worker is ready. If that takes longer than patience, it also logs why, once. It returns when ctx ends, too.
func (a *app) tellReady(ctx context.Context, w *worker.Worker, patience time.Duration, logger *slog.Logger) {
	if a.awaitReady(ctx, w, patience, logger) == nil {
		return
	}
	for retry.Pause(ctx, time.Second) {
		asking, cancel := context.WithTimeout(ctx, readyWithin)
		err := w.Ready(asking)
		cancel()
		if err == nil {
			logger.InfoContext(ctx, "Worker: ready")
			return
		}
	}
}

// awaitReady waits until the worker is ready, at most for patience, and logs that it is, or why it is not. The worker then keeps trying.
func (a *app) awaitReady(ctx context.Context, w *worker.Worker, patience time.Duration, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := w.Ready(ctx)
		switch {
		case err == nil:
			logger.InfoContext(ctx, "Worker: ready")
			return nil
		case retry.Pause(ctx, 20*time.Millisecond):
			continue
		case errors.Is(ctx.Err(), context.Canceled):
			return fmt.Errorf("wait for the worker: %w", ctx.Err())
		}
		logger.WarnContext(ctx, "Worker: not ready yet", slog.String("error", err.Error()))
		return fmt.Errorf("the worker did not become ready within %s: %w", patience, err)
	}
}

// stopWorker lets running jobs end, within --shutdown-timeout.
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

// stopping stops a part other than the worker. It waits until shortly before the deadline of the program: then connections of
// clients are cut, and spans may be lost.
func (a *app) stopping(ctx context.Context, what string, stop func()) {
	a.does(what)
	ctx, cancel := a.stopContext(ctx, lastStops)
	defer cancel()
	wait(ctx, stop)
}

// starting starts a worker as soon as its server can be reached.
type starting struct {
	waiting waiting
	w       *worker.Worker
	pool    *pgxpool.Pool
	logger  *slog.Logger
	migrate bool            // migrates the schema first if necessary
	direct  *pgx.ConnConfig // for migrations
}

// run tries until the worker has started, ctx ends, or an error occurs that a retry cannot fix, such as an ID that is in use.
func (s *starting) run(ctx context.Context) error { return s.waiting.until(ctx, s.once) }

func (s *starting) once(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := s.pool.Ping(asked); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if s.migrate {
		if err := s.migrateUp(ctx); err != nil {
			return err
		}
	}
	schema, err := iusql.InspectSchema(asked, s.pool)
	if err != nil {
		return err
	}
	if err := s.w.Start(ctx); err != nil {
		return err
	}
	if schema.Newer() {
		s.logger.WarnContext(ctx, "Worker: the schema is newer than this program, and allows it; upgrade the program soon",
			slog.Int64("schema", schema.Version), slog.Int64("program_schema", iusql.SchemaVersion))
	}
	s.logger.InfoContext(ctx, "Worker: started", slog.String("version", iusql.ProgramVersion))
	return nil
}

// migrateUp migrates the schema only if this program cannot work on it: a worker's login may lack the privileges to migrate.
func (s *starting) migrateUp(ctx context.Context) error {
	err := iusql.CheckSchema(ctx, s.pool)
	if !errors.Is(err, iusql.ErrSchemaMissing) && !errors.Is(err, iusql.ErrSchemaOld) {
		return err
	}
	if _, err := iusql.Up(ctx, iusql.Config{ConnConfig: s.direct, Logger: s.logger}); err != nil {
		return &markedError{err, errMigration}
	}
	return nil
}

// ready returns why the worker is not ready, such as the error because of which it waits for the server.
func (s *starting) ready(ctx context.Context) error {
	if err := s.waiting.why(); err != nil {
		return err
	}
	return s.w.Ready(ctx)
}
