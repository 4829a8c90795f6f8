package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/replica"
	"github.com/iu-core/iuworker/internal/retry"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
	iusql "github.com/iu-core/iuworker/sql"
)

func (a *app) serveCommand() *cobra.Command {
	f := defaultWorkFlags()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve pages and events without a worker, behind a load balancer",
		Long: `Serves the pages, River UI, /v1/events, metrics and probes of a database whose workers run elsewhere. It composes
and announces nothing. Any number of processes share the clients, in any order of requests. With --read-database-url,
pages and events are read from a hot standby; changes, LISTEN and River UI stay on --database-url. While the standby is
away, or more than --max-read-lag behind, everything is read from --database-url; pages, /readyz and the metrics say
so. SIGTERM and Ctrl-C tell the clients of streams to reconnect, and let requests finish.`,
		Example: `  iuworker serve --http-addr :8080 --http-credentials-file /etc/iuworker/credentials
  iuworker serve --database-url postgres://pages@primary/shop --read-database-url postgres://pages@standby/shop`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.logger = a.log.logger(a.stderr, a.getenv, toldLevel)
			a.tells = true
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(f.poolSize, given(cmd, "pool-size"))
			who, err := f.resolve(cmd, a.getenv)
			if err != nil {
				return err
			}
			return untilSignal(cmd.Context(), a.serveReaders(cmd.Context(), at, f, who))
		},
	}
	takesSettings(cmd)
	f.register(cmd, ofServe)
	return cmd
}

// serveReaders serves until ctx is done or a part fails.
func (a *app) serveReaders(ctx context.Context, at addresses, f workFlags, who access) error {
	a.ending.allow(f.worker.ShutdownTimeout)
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), at.pool)
	if err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	defer a.stopping(ctx, "the connection pool", pool.Close)
	standby, err := openStandby(ctx, at)
	if err != nil {
		return err
	}
	if standby != nil {
		defer a.stopping(ctx, "the connection pool of the standby", standby.Close)
	}
	defer a.rereadAtHangup(ctx, at, who)()
	r := &readers{
		logger: a.logger,
		replica: replica.New(replica.Config{
			Primary: pool, Standby: standby, MaxLag: f.maxReadLag, What: "Pages", Logger: a.logger,
		}),
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.replica.Run(watching)
	}()
	defer a.stopping(ctx, "the checks of the standby", func() { stop(); <-watched })

	events, err := eventstream.New(eventstream.Config{
		Pool: pool, Read: standby, MaxLag: f.maxReadLag, Direct: at.direct, MaxConnections: f.eventsClients, Logger: a.logger,
	})
	if err != nil {
		return configured(err)
	}
	defer a.stopping(ctx, "the event streams", events.Stop)
	registry := r.registry(f.databaseName, pool, events)
	gatherer := a.gatherer(func() []prometheus.Gatherer { return []prometheus.Gatherer{registry} })
	_, failed, stopPages, err := a.servePages(ctx, f, webui.Config{
		Pool: pool, Replica: r.replica, Direct: at.direct, Ready: r.ready, BasePath: f.basePath, Environment: f.environment,
		Credentials: who.credentials, Events: events, EventsTokens: who.tokens, Version: iusql.ProgramVersion, Logger: a.logger,
		MetricsTokens: who.metrics, MetricsOpen: f.metrics.open, Metrics: metrics.Handler(gatherer, a.logger),
	})
	if err != nil {
		return err
	}
	defer stopPages()
	if err := r.start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		r.ending.Store(true)
		a.logger.InfoContext(ctx, "Server: stopping")
		events.Stop() // tells clients to reconnect, elsewhere
		return nil
	case err := <-failed:
		return err
	}
}

// standbyWithin is how long a start waits for the standby's reply.
const standbyWithin = 3 * time.Second

// openStandby opens the pool of the standby, or returns nil if there is no standby. A standby that cannot be reached is not an error,
// because the primary is read meanwhile. A standby that refuses the login is.
func openStandby(ctx context.Context, at addresses) (*pgxpool.Pool, error) {
	if at.read == nil {
		return nil, nil //nolint:nilnil // everything is read from the primary
	}
	standby, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), at.read)
	if err != nil {
		return nil, fmt.Errorf("open the connection pool of the standby: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, standbyWithin)
	defer cancel()
	if err := standby.Ping(asking); err != nil && !retry.MayPass(err) {
		closePool(standby)
		return nil, fmt.Errorf("connect to the standby: %w", err)
	}
	return standby, nil
}

// readers serve those who read: people and subscribers.
type readers struct {
	replica *replica.Reader
	logger  *slog.Logger
	ending  atomic.Bool
}

// start waits until the schema can be read. It fails if a retry cannot help.
func (r *readers) start(ctx context.Context) error {
	waiting := &waiting{what: "Server", logger: r.logger}
	if err := waiting.until(ctx, r.check); err != nil {
		return err
	}
	r.logger.InfoContext(ctx, "Server: ready", slog.String("version", iusql.ProgramVersion))
	return nil
}

// check returns an error unless the schema fits, on the server that is read now.
func (r *readers) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	pool := r.replica.Pool()
	err := iusql.CheckSchema(ctx, pool)
	if err != nil && retry.MayPass(err) {
		r.replica.Failed()
	}
	return err
}

var errEnding = errors.New("this process is stopping")

// ready returns why pages and events cannot be read.
func (r *readers) ready(ctx context.Context) error {
	if r.ending.Load() {
		return errEnding
	}
	return r.check(ctx)
}

// registry returns the metrics of what the process does. The state of the database is in those of its workers.
func (r *readers) registry(name string, pool *pgxpool.Pool, events *eventstream.Handler) *metrics.Registry {
	if name == "" {
		name = metrics.DatabaseOf(pool.Config().ConnConfig)
	}
	registry := metrics.NewRegistry(metrics.Config{Database: name, Version: iusql.ProgramVersion, Logger: r.logger})
	metrics.ObservePool(registry, pool)
	metrics.ObserveStreams(registry, func() metrics.Streams { return metrics.Streams(events.Stats()) })
	if r.replica.HasStandby() {
		metrics.ObserveStandby(registry, func() metrics.Standby {
			state := r.replica.State()
			return metrics.Standby{
				Up: !state.At.IsZero() && state.Err == nil, Used: !state.FromPrimary, Lag: max(state.Lag, 0).Round(time.Millisecond),
			}
		})
	}
	return registry
}
