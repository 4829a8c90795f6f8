package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/retry"
	webui "github.com/iu-core/iuworker/riverui"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// manyPool is the default of --pool-size with --databases: a lane, and what worker.Config.Pool reserves.
const manyPool = 6

// manyIdle is how long an idle connection of their pools stays open: a hundred pools keep many otherwise.
const manyIdle = time.Minute

// databases are those of the file of --databases. Each works on its own: its outage, start and end are not noticed by the others.
type databases struct {
	app   *app
	cmd   *cobra.Command
	flags workFlags
	who   access

	mu     sync.Mutex
	listed []*database          // in the order of their names
	latest map[string]*database // the last one of each name, which may be stopping
}

// database is one of them. It runs until its context ends, and starts again by itself after any failure.
type database struct {
	name   string
	all    *databases
	logger *slog.Logger
	id     string // of its worker
	away   *metrics.Registry
	soon   chan struct{} // tries again at once
	cancel context.CancelFunc
	ended  chan struct{} // closed at the end
	endErr error         // why it did not end in order; read it after ended

	place    atomic.Pointer[located]
	handler  atomic.Pointer[webui.Handler]
	registry atomic.Pointer[metrics.Registry]
	failure  atomic.Pointer[string] // why it does not run
}

// workOnDatabases runs a worker for each database of the file until ctx is done or the pages fail.
func (a *app) workOnDatabases(ctx context.Context, cmd *cobra.Command, f workFlags, who access) (err error) {
	a.ending.allow(f.worker.ShutdownTimeout)
	if !given(cmd, "pool-size") {
		f.poolSize = manyPool
	}
	stopTracing, err := a.trace(ctx, &f.worker, f.otlp)
	if err != nil {
		return configured(err)
	}
	defer a.stopping(ctx, "tracing", stopTracing)
	all := &databases{app: a, cmd: cmd, flags: f, who: who, latest: map[string]*database{}}
	wanted, err := all.read()
	if err != nil {
		return err
	}
	_, failed, stopPages, err := a.servePages(ctx, f, webui.Config{
		Databases: all.mounted, BasePath: f.basePath, Environment: f.environment, Credentials: who.credentials,
		Metrics: metrics.Handler(a.gatherer(all.gatherers), a.logger), MetricsTokens: who.metrics, MetricsOpen: f.metrics.open,
		Version: iusql.ProgramVersion, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	defer stopPages()
	all.apply(ctx, wanted)
	defer func() { err = errors.Join(err, all.wait(ctx)) }()
	defer a.atHangup(ctx, "the file of --databases, credentials and tokens", func(context.Context) {
		who.reload()
		all.reload(ctx)
	})()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// read reads the file. What is wrong in it is wrong usage.
func (all *databases) read() ([]located, error) {
	entries, err := readDatabases(all.flags.databases)
	if err != nil {
		return nil, usage(all.cmd, "%v", err)
	}
	wanted, err := all.app.locate(all.cmd, all.flags.databases, entries)
	if _, wrong := errors.AsType[*usageError](err); err != nil && !wrong {
		err = usage(all.cmd, "%v", err)
	}
	return wanted, err
}

// reload reads the file again: it starts what is new in it, stops what is gone, and restarts what leads elsewhere. A file that
// cannot be used changes nothing.
func (all *databases) reload(ctx context.Context) {
	wanted, err := all.read()
	if err != nil {
		all.app.logger.ErrorContext(ctx, "Databases: the file cannot be used; what runs goes on", slog.String("error", redact(err.Error())))
		return
	}
	all.apply(ctx, wanted)
}

// apply makes the databases that run those that are wanted, and waits for none of them.
func (all *databases) apply(ctx context.Context, wanted []located) {
	all.mu.Lock()
	defer all.mu.Unlock()
	var listed []*database
	for _, l := range wanted {
		before := all.latest[l.name]
		switch {
		case before != nil && slices.Contains(all.listed, before) && l.sameAs(*before.place.Load()):
			before.again(ctx)
			listed = append(listed, before)
			continue
		case before != nil:
			before.cancel()
		}
		d := all.start(ctx, l, before)
		all.latest[l.name], listed = d, append(listed, d)
	}
	for name, d := range all.latest {
		if !slices.Contains(listed, d) {
			d.cancel()
			if d.hasEnded() {
				delete(all.latest, name)
			}
		}
	}
	slices.SortFunc(listed, func(a, b *database) int { return cmp.Compare(a.name, b.name) })
	all.listed = listed
}

// start starts a database as soon as before, which has the same name, has ended; nil: now.
func (all *databases) start(ctx context.Context, l located, before *database) *database {
	d := &database{
		name: l.name, all: all, logger: all.app.logger.With(slog.String("database", l.name)),
		id: cmp.Or(all.flags.worker.ID, names.Process()), away: metrics.Away(l.name, iusql.ProgramVersion),
		soon: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	reason := "it is starting"
	d.failure.Store(&reason)
	d.place.Store(&l)
	running, cancel := context.WithCancel(ctx)
	d.cancel = cancel
	go func() {
		defer close(d.ended)
		if before != nil {
			<-before.ended
		}
		d.endErr = d.run(running, ctx)
	}()
	return d
}

// wait ends all databases, and waits for them until shortly before the deadline of the program. It returns why some did not end in
// order.
func (all *databases) wait(ctx context.Context) (err error) {
	all.app.does("the workers")
	ctx, cancel := all.app.stopContext(ctx, lastStops)
	defer cancel()
	all.mu.Lock()
	running := slices.Collect(maps.Values(all.latest))
	all.mu.Unlock()
	for _, d := range running {
		d.cancel()
	}
	for _, d := range running {
		select {
		case <-d.ended:
			err = errors.Join(err, d.endErr)
		case <-ctx.Done():
			err = errors.Join(err, fmt.Errorf("timed out stopping: the worker of the database %s", d.name))
		}
	}
	return err
}

// mounted returns the databases as the pages show them.
func (all *databases) mounted() (shown []webui.Database) {
	for _, d := range all.now() {
		s := webui.Database{Name: d.name, Handler: d.handler.Load()}
		if reason := d.failure.Load(); reason != nil {
			s.Reason = *reason
		}
		shown = append(shown, s)
	}
	return shown
}

func (all *databases) gatherers() (gatherers []prometheus.Gatherer) {
	for _, d := range all.now() {
		gatherers = append(gatherers, cmp.Or(d.registry.Load(), d.away))
	}
	return gatherers
}

func (all *databases) now() []*database {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.listed
}

func (d *database) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// again reads the address again, to log an error in it, and ends the wait for the next try.
func (d *database) again(ctx context.Context) {
	for _, reread := range d.place.Load().at.reread {
		reread(ctx)
	}
	select {
	case d.soon <- struct{}{}:
	default:
	}
}

// run works on the database until ctx ends, whatever fails. program is the context of the whole program: if that has ended, too, run
// returns why the worker did not end in order.
func (d *database) run(ctx, program context.Context) error {
	for try := 1; ctx.Err() == nil; try++ {
		began := time.Now()
		err := d.work(ctx, program)
		if ctx.Err() != nil {
			return d.ending(program, err)
		}
		if time.Since(began) > time.Minute {
			try = 1
		}
		d.failed(ctx, err)
		select {
		case <-ctx.Done():
		case <-d.soon:
		case <-time.After(retry.Work.Wait(try)):
		}
	}
	return d.ending(program, nil)
}

// ending logs that the database has ended, and returns run's error.
func (d *database) ending(program context.Context, err error) error {
	stop, late := errors.AsType[*worker.StopError](err)
	switch {
	case !late:
		d.logger.InfoContext(program, "Database: ended")
		return nil
	case program.Err() == nil:
		d.logger.WarnContext(program, "Database: ended, but not in order", slog.String("error", stop.Error()))
		return nil
	default:
		return fmt.Errorf("the database %s: %w", d.name, stop)
	}
}

// failed notes why the database does not run, and logs it once.
func (d *database) failed(ctx context.Context, err error) {
	text := "it ended"
	if err != nil {
		text = sentence(err)
	}
	if wrong, ok := errors.AsType[*usageError](err); ok {
		text = wrong.message // the help of the command does not help
	}
	if before := d.failure.Swap(&text); before != nil && *before == text {
		return
	}
	d.logger.ErrorContext(ctx, "Database: cannot be worked on; retrying until it can", slog.String("error", text))
}

// work runs the worker once, until it fails or ctx ends.
func (d *database) work(ctx, program context.Context) (err error) {
	a, f := d.all.app, d.all.flags
	at, err := d.addresses()
	if err != nil {
		return err
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), at.pool)
	if err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	f.worker.ID, f.basePath = d.id, f.basePath+webui.DatabasePath(d.name)
	m, err := newMember(memberConfig{name: d.name, at: at, pool: pool, flags: f, who: d.all.who, logger: d.logger})
	if err != nil {
		closePool(pool)
		return err
	}
	m.web.Name, m.web.Index = d.name, d.all.flags.basePath+"/"
	handler, err := webui.New(m.web)
	if err != nil {
		closePool(pool)
		return configured(err)
	}
	d.handler.Store(handler)
	d.registry.Store(m.registry)
	defer func() {
		stopping, cancel := d.stopContext(ctx, program)
		defer cancel()
		go m.events.Stop() // tells clients to reconnect while the worker drains
		err = errors.Join(err, m.worker.Stop(stopping))
		d.handler.Store(nil)
		d.registry.Store(nil)
		handler.Stop()
		m.events.Stop()
		wait(stopping, pool.Close)
	}()
	if err := m.starting.run(ctx); err != nil {
		return err
	}
	if err := d.alone(ctx, pool); err != nil {
		return err
	}
	d.failure.Store(nil)
	watching, end := context.WithCancel(ctx)
	defer end()
	go a.tellReady(watching, m.worker, readyWithin, d.logger)
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.worker.Failed():
		return err
	}
}

// stopContext bounds the end of the database: by the program's deadline if all ends, else by --shutdown-timeout.
func (d *database) stopContext(ctx, program context.Context) (context.Context, context.CancelFunc) {
	timeout := d.all.flags.worker.ShutdownTimeout
	if program.Err() != nil {
		return d.all.app.stopContext(program, min(timeout/10, time.Second))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// addresses returns where the database is. An address that could not be read before is read again.
func (d *database) addresses() (addresses, error) {
	place := *d.place.Load()
	if place.err != nil {
		found, err := d.all.app.locate(d.all.cmd, d.all.flags.databases, []databaseLine{place.databaseLine})
		if err != nil {
			return addresses{}, err
		}
		if place = found[0]; place.err != nil {
			return addresses{}, place.err
		}
		d.place.Store(&place)
	}
	place.at.size(d.all.flags.poolSize, given(d.all.cmd, "pool-size"))
	place.at.pool.MaxConnIdleTime = min(place.at.pool.MaxConnIdleTime, manyIdle)
	return place.at, nil
}

// alone returns an error if another name of the file leads to the same database, which addresses alone may not show: then that
// name's worker is one of the database's.
func (d *database) alone(ctx context.Context, pool *pgxpool.Pool) error {
	others := map[string]string{} // names by worker
	var ids []string
	for _, other := range d.all.now() {
		if other.name != d.name && other.id != d.id {
			others[other.id], ids = other.name, append(ids, other.id)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var id string
	err := pool.QueryRow(ctx, "SELECT w.id FROM iu_outbox.worker AS w WHERE w.id = ANY ($1) LIMIT 1", ids).Scan(&id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("read the workers: %w", err)
	default:
		return fmt.Errorf("it is the same database as %s; remove one of the two lines", others[id])
	}
}
