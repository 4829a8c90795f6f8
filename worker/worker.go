package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/iu-core/iuworker/jobs"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker/listen"
)

// Worker is the relay, the jobs, the emitter and what looks after them, in one process. Start and Stop are safe for
// concurrent use; a Worker is started once.
type Worker struct {
	cfg    Config
	logger *slog.Logger

	mu      sync.Mutex
	started bool
	stop    func(context.Context) error
	stopErr error
	stopped chan struct{}

	listener *listen.Listener // nil: polling
	polls    bool
	client   *river.Client[pgx.Tx]
}

// New checks the configuration; it does not connect.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, logger: cfg.Logger, stopped: make(chan struct{})}, nil
}

// ErrNotReady is wrapped by what Ready answers where the worker cannot work now.
var ErrNotReady = errors.New("not ready")

// Ready reports whether the worker can work: started, database reachable, schema fits, listener up or polling by
// choice.
func (w *Worker) Ready(ctx context.Context) error {
	w.mu.Lock()
	running := w.started && w.stop != nil
	listener, polls := w.listener, w.polls
	w.mu.Unlock()
	switch {
	case !running:
		return fmt.Errorf("%w: the worker is not running", ErrNotReady)
	case !polls && !listener.Up():
		return fmt.Errorf("%w: the listener is not connected", ErrNotReady)
	}
	if err := iusql.CheckSchema(ctx, w.cfg.Pool); err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return nil
}

// Start checks the schema and starts all parts. They run until Stop; ctx bounds the start alone. A failed Start
// leaves nothing behind.
func (w *Worker) Start(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return errors.New("worker: started before")
	}
	if err := iusql.CheckSchema(ctx, w.cfg.Pool); err != nil {
		return err
	}
	sessions, err := listen.Works(ctx, w.cfg.Pool, w.cfg.Direct)
	if err != nil {
		return err
	}
	if !sessions {
		w.logger.WarnContext(ctx, "Worker: notifications do not come through this address (a transaction pooler?); polling instead; give --direct-database-url for doorbells",
			slog.Duration("poll_interval", w.cfg.PollInterval))
	}
	mayReindex, err := ownsRiver(ctx, w.cfg.Pool)
	if err != nil {
		return err
	}
	stop, err := w.start(ctx, sessions, mayReindex)
	if err != nil {
		return err
	}
	w.started, w.stop = true, stop
	return nil
}

func ownsRiver(ctx context.Context, pool *pgxpool.Pool) (bool, error) {
	var owns bool
	err := pool.QueryRow(ctx, `
		SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass('iu_river.river_job')`).Scan(&owns)
	if err != nil {
		return false, fmt.Errorf("look for River's tables: %w", err)
	}
	return owns, nil
}

// start builds the parts and answers what stops them again.
func (w *Worker) start(ctx context.Context, sessions, mayReindex bool) (func(context.Context) error, error) {
	work := jobs.NewWorker(jobs.NewPoolComposer(w.cfg.Pool), w.report)
	var riverListens *pgxpool.Pool
	if sessions {
		poolConfig, err := directPool(w.cfg.Pool, w.cfg.Direct)
		if err != nil {
			return nil, err
		}
		if riverListens, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), poolConfig); err != nil {
			return nil, fmt.Errorf("open River's listener: %w", err)
		}
	}
	client, err := newRiver(w.cfg, work, riverListens, mayReindex)
	if err == nil {
		err = client.Start(context.WithoutCancel(ctx))
	}
	if err != nil {
		if riverListens != nil {
			riverListens.Close()
		}
		return nil, fmt.Errorf("start River: %w", err)
	}
	w.client = client

	parts := w.build(sessions, work)
	early, stopEarly := context.WithCancel(context.WithoutCancel(ctx)) // ends first: takes new work in
	late, stopLate := context.WithCancel(context.WithoutCancel(ctx))   // ends last: what the jobs need
	var taking, serving sync.WaitGroup
	taking.Go(func() { w.run(early, "relay", parts.relay.Run) })
	taking.Go(func() { w.run(early, "resumer", parts.resumer.Run) })
	serving.Go(func() { w.run(late, "rescuer", parts.rescuer.Run) })
	emitting, stopEmitting := context.WithCancel(late)
	var emitter sync.WaitGroup
	emitter.Go(func() { w.run(emitting, "emitter", parts.emitter.Run) })
	if sessions {
		w.listener = parts.listener
		serving.Go(func() { w.run(late, "listener", parts.listener.Run) })
		serving.Go(func() { parts.session.run(late) })
	}
	w.polls = !sessions

	return func(ctx context.Context) error {
		defer stopEmitting()
		defer stopLate()
		stopEarly()
		taking.Wait()
		err := w.stopRiver(ctx)
		stopEmitting()
		emitter.Wait()
		parts.emitter.Finish(ctx)
		stopLate()
		serving.Wait()
		err = errors.Join(err, parts.rescuer.leave(ctx))
		if riverListens != nil {
			riverListens.Close()
		}
		return err
	}, nil
}

func directPool(pool *pgxpool.Pool, direct *pgx.ConnConfig) (*pgxpool.Config, error) {
	cfg := pool.Config()
	cfg.ConnConfig = listen.KeepAlive(direct)
	cfg.MinConns, cfg.MinIdleConns, cfg.MaxConns = 0, 0, 1
	return cfg, nil
}

type parts struct {
	listener *listen.Listener
	session  *session
	relay    *Relay
	emitter  *Emitter
	resumer  *Resumer
	rescuer  *Rescuer
}

func (w *Worker) build(sessions bool, work *jobs.Worker) parts {
	cfg := w.cfg
	lockKey := rand.Int32() //nolint:gosec // tells processes apart, guards nothing
	var p parts
	eventBell, emissionBell, gateBell := listen.NewBell(), listen.NewBell(), listen.NewBell()
	if sessions {
		p.listener = listen.New(listen.Config{Pool: cfg.Pool, Direct: cfg.Direct, Logger: w.logger})
		eventBell, emissionBell, gateBell = p.listener.On(ChannelEvent), p.listener.On(ChannelEmission), p.listener.On(ChannelGate)
		p.session = newSession(cfg.Direct, w.logger, lockKey)
	}
	lost := func(what string) *listen.Outage { return &listen.Outage{Logger: w.logger, What: what + ": database"} }
	p.relay = &Relay{
		pool: cfg.Pool, client: w.client, batch: cfg.RelayBatch, logger: w.logger, outage: lost("Relay"),
		sleeper: sleeper{session: p.session, key: lockRelaySleeps, bell: eventBell, poll: cfg.PollInterval},
	}
	p.emitter = &Emitter{
		pool: cfg.Pool, session: p.session, batch: cfg.EmitBatch, logger: w.logger, outage: lost("Emitter"),
		sleeper: sleeper{session: p.session, key: lockEmitterSleeps, bell: emissionBell, poll: cfg.PollInterval},
	}
	p.resumer = &Resumer{pool: cfg.Pool, bell: gateBell, sweep: cfg.SweepInterval, logger: w.logger, outage: lost("Resumer")}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	p.rescuer = &Rescuer{
		pool: cfg.Pool, id: cfg.ID, lockKey: lockKey, active: work.Active, logger: w.logger, outage: lost("Rescuer"),
		about: presence{Hostname: hostname, PID: os.Getpid(), Version: cfg.Version},
	}
	return p
}

// run runs a part; one that ends before it was told to is a bug that the log must show.
func (w *Worker) run(ctx context.Context, name string, part func(context.Context) error) {
	if err := part(ctx); err != nil && ctx.Err() == nil {
		w.logger.ErrorContext(ctx, "Worker: a part ended", slog.String("part", name), slog.String("error", err.Error()))
	}
}

// report logs what an operator may have to act on; what went well is told by the batches of relay and emitter.
func (w *Worker) report(o jobs.Outcome) {
	level := slog.LevelDebug
	if o.Err != nil {
		level = slog.LevelWarn
	}
	attrs := []any{
		slog.Int64("job_id", o.JobID), slog.String("event_id", o.Args.EventID.String()),
		slog.String("idempotency_key", o.Args.IdempotencyKey), slog.String("template", o.Args.TemplateCollectionID.String()),
		slog.String("status", string(o.Result.Status)), slog.Duration("took", o.Took),
	}
	if o.Err != nil {
		attrs = append(attrs, slog.String("error", o.Err.Error()))
	}
	w.logger.Log(context.Background(), level, "Jobs: ran a job", attrs...)
}

// Stop takes no new work in, lets running jobs end, emits what they composed, and ends all parts, within
// ShutdownTimeout or ctx, whichever is shorter: then running jobs are cut off, and go on in another process. Safe to
// call twice, and before Start.
func (w *Worker) Stop(ctx context.Context) error {
	w.mu.Lock()
	stop := w.stop
	w.stop = nil
	started := w.started
	w.mu.Unlock()
	if !started {
		return nil
	}
	if stop == nil {
		<-w.stopped
		return w.stopErr
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.ShutdownTimeout)
	defer cancel()
	w.stopErr = stop(ctx)
	close(w.stopped)
	return w.stopErr
}

// stopRiver lets jobs end for as long as ctx leaves room to give back those that do not.
func (w *Worker) stopRiver(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	room := min(time.Until(deadline)/4, 3*time.Second)
	soft, cancel := context.WithDeadline(ctx, deadline.Add(-room))
	defer cancel()
	if err := w.client.Stop(soft); err == nil {
		return nil
	}
	w.logger.WarnContext(ctx, "Worker: cutting off jobs that outlast the shutdown timeout")
	if err := w.client.StopAndCancel(ctx); err != nil {
		return fmt.Errorf("stop River: %w", err)
	}
	return nil
}
