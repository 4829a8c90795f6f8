package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
	iusql "github.com/iu-core/iuworker/sql"
)

// running is what Start started and Stop stops: River's client and the parts around it.
type running struct {
	logger  *slog.Logger
	client  *river.Client[pgx.Tx]
	batcher *jobs.Batcher
	hold    *jobs.Hold

	lease    *lease
	control  *riverControl
	listener *listen.Listener // nil: polling
	session  *session         // nil: polling
	yielder  *yielder
	relay    *Relay
	emitter  *Emitter
	resumer  *Resumer
	rescuer  *Rescuer
	pruner   *Pruner
	verifier *Verifier
	reporter *reporter
	history  *Historian

	outages []*retry.Outage // of the parts

	taking, emitting, serving group // in the order in which they end
}

// group is goroutines that end together.
type group struct {
	ctx    context.Context //nolint:containedctx // the lifetime of the goroutines, not of a call
	cancel context.CancelFunc
	wg     sync.WaitGroup
	parts  map[string]chan struct{} // by name; each is closed when the part has ended
}

func newGroup(ctx context.Context) group {
	ctx, cancel := context.WithCancel(ctx)
	return group{ctx: ctx, cancel: cancel, parts: make(map[string]chan struct{})}
}

func (g *group) end() {
	g.cancel()
	g.wg.Wait()
}

// run starts the parts. Where one fails, those before it are stopped again.
func (w *Worker) run(ctx context.Context, sessions bool) (*running, error) {
	now := &clock{}
	r := &running{logger: w.logger, yielder: newYielder(w.cfg), hold: newHold(w.logger)}
	r.lease = &lease{
		pool: w.cfg.Pool, id: w.cfg.ID, hostname: hostname(), pid: os.Getpid(), version: w.cfg.Version,
		session: func() int32 { return r.session.pid() }, clock: now, logger: w.logger,
	}
	r.reporter = &reporter{pool: w.cfg.Pool, id: r.lease.incarnation, settings: w.cfg.settings(), logger: w.logger}
	r.batcher = jobs.NewBatcher(jobs.BatcherConfig{
		Pool: w.cfg.Pool, Lanes: w.cfg.Lanes, Incarnation: r.lease.incarnation, Waited: r.yielder.waited, Turn: r.yielder.turn,
		Observe: func(b jobs.Batch) {
			w.cfg.Metrics.Composed(b)
			if !b.Split {
				r.reporter.composed.Add(int64(b.Events))
			}
			if b.Emission != nil {
				r.emitter.announced(context.WithoutCancel(ctx), *b.Emission, b.Began)
			}
		},
	})
	base := context.WithoutCancel(ctx)
	if err := r.open(ctx, w, sessions, jobs.NewWorker(r.batcher, r.hold, w.report, w.cfg.tracer(), now.Now)); err != nil {
		_ = r.lease.giveUp(base) // the error that matters is err
		r.close()
		return nil, err
	}
	r.taking, r.emitting, r.serving = newGroup(base), newGroup(base), newGroup(base)
	r.start(&r.taking, "relay", r.relay.Run)
	r.start(&r.taking, "yielder", r.yielder.run)
	r.start(&r.taking, "resumer", r.resumer.Run)
	r.start(&r.taking, "pruner", r.pruner.Run)
	r.start(&r.taking, "verifier", r.verifier.Run)
	r.start(&r.taking, "historian", r.history.Run)
	r.start(&r.taking, "reporter", r.reporter.Run)
	r.start(&r.emitting, "emitter", r.emitter.Run)
	r.start(&r.serving, "rescuer", r.rescuer.Run)
	r.start(&r.serving, "control", r.control.Run)
	if sessions {
		r.start(&r.serving, "listener", r.listener.Run)
		r.start(&r.serving, "session", r.session.run)
	}
	return r, nil
}

// start runs a part; one that ends before it was told to is a bug that the log must show.
func (r *running) start(g *group, name string, part func(context.Context) error) {
	ended := make(chan struct{})
	g.parts[name] = ended
	g.wg.Go(func() {
		defer close(ended)
		if err := part(g.ctx); err != nil && g.ctx.Err() == nil {
			r.logger.ErrorContext(g.ctx, "Worker: a part ended", slog.String("part", name), slog.String("error", err.Error()))
		}
	})
}

// open connects what needs a connection of its own, starts River, and builds the parts.
func (r *running) open(ctx context.Context, w *Worker, sessions bool, work *jobs.Worker) error {
	cfg := w.cfg
	if err := r.lease.take(ctx); err != nil {
		return err
	}
	eventBell, emissionBell, gateBell := listen.NewBell(), listen.NewBell(), listen.NewBell()
	if sessions {
		r.listener = listen.New(listen.Config{
			Pool: cfg.Pool, Direct: cfg.Direct, Logger: r.logger, Observe: cfg.Metrics.Listening,
		})
		cfg.Metrics.Listening(false) // not yet
		eventBell, emissionBell, gateBell = r.listener.On(ChannelEvent), r.listener.On(ChannelEmission), r.listener.On(ChannelGate)
		session := newSession(cfg.Direct, r.logger)
		if err := session.open(ctx); err != nil {
			return fmt.Errorf("open the worker's session: %w", err)
		}
		r.session = session
	}
	r.control = newRiverControl(cfg.Pool, r.listener, slices.Collect(maps.Keys(cfg.queues())), work.ActiveJobs, r.logger)
	inserter, err := newInserter(cfg)
	if err != nil {
		return err
	}
	lost := func(what string) *retry.Outage {
		outage := &retry.Outage{
			Logger: r.logger, What: what + ": database", Name: faultName,
			Observe: func() { cfg.Metrics.Failed(strings.ToLower(what)) },
		}
		r.outages = append(r.outages, outage)
		return outage
	}
	r.relay = &Relay{
		pool: cfg.Pool, client: inserter, by: r.lease.incarnation, batch: cfg.RelayBatch, logger: r.logger, outage: lost("Relay"), metrics: cfg.Metrics,
		tracer:  cfg.tracer(),
		sleeper: sleeper{session: r.session, key: lockRelaySleeps, bell: eventBell, poll: cfg.PollInterval, yield: r.yielder},
	}
	r.emitter = &Emitter{
		pool: cfg.Pool, session: r.session, batch: cfg.EmitBatch, logger: r.logger, outage: lost("Emitter"), metrics: cfg.Metrics,
		tracer:  cfg.tracer(),
		sleeper: sleeper{session: r.session, key: lockEmitterSleeps, bell: emissionBell, poll: cfg.PollInterval},
	}
	r.resumer = &Resumer{
		pool: cfg.Pool, hold: r.hold, bell: gateBell, sweep: cfg.SweepInterval, logger: r.logger, outage: lost("Resumer"), metrics: cfg.Metrics,
	}
	r.pruner = &Pruner{
		pool: cfg.Pool, retention: cfg.EmissionRetention, expiry: cfg.ConsumerExpiry, logger: r.logger, outage: lost("Pruner"),
		metrics: cfg.Metrics,
	}
	r.verifier = &Verifier{
		pool: cfg.Pool, session: r.session, interval: cfg.VerifyInterval, logger: r.logger, outage: lost("Verifier"), metrics: cfg.Metrics,
	}
	r.history = &Historian{pool: cfg.Pool, now: r.lease.clock.Now, outage: lost("Historian")}
	r.reporter.load = func() operate.WorkerLoad { return r.load(cfg.Pool, work.ActiveJobs) }
	r.rescuer = &Rescuer{
		pool: cfg.Pool, lease: r.lease, active: work.Active, taken: w.fail, logger: r.logger, outage: lost("Rescuer"), metrics: cfg.Metrics,
	}
	return r.startRiver(ctx, cfg, work) // from now on there are jobs, that need the other parts
}

func (r *running) startRiver(ctx context.Context, cfg Config, work *jobs.Worker) error {
	var mayReindex bool
	err := cfg.Pool.QueryRow(ctx, `
		SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass($1)`, iusql.JobTable).Scan(&mayReindex)
	if err != nil {
		return fmt.Errorf("look for River's tables: %w", err)
	}
	client, err := newRiver(cfg, work, r.control, r.lease.clock, mayReindex)
	if err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start River: %w", err)
	}
	r.client = client
	return nil
}

// close gives back what open opened; the groups are over, or never began.
func (r *running) close() {
	r.batcher.Close()
	if r.session != nil {
		r.session.drop()
	}
}
