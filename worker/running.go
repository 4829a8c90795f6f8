package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/listen"
)

// running is what Start started and Stop stops: River's client and the parts around it.
type running struct {
	logger  *slog.Logger
	client  *river.Client[pgx.Tx]
	batcher *jobs.Batcher
	hold    *jobs.Hold

	listens  *pgxpool.Pool    // River's listening connection; nil: polling
	listener *listen.Listener // nil: polling
	session  *session         // nil: polling
	yielder  *yielder
	relay    *Relay
	emitter  *Emitter
	resumer  *Resumer
	rescuer  *Rescuer
	pruner   *Pruner
	verifier *Verifier

	outages []*listen.Outage // of the parts

	taking, emitting, serving group // in the order in which they end
}

// group is goroutines that end together.
type group struct {
	ctx    context.Context //nolint:containedctx // the lifetime of the goroutines, not of a call
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newGroup(ctx context.Context) group {
	ctx, cancel := context.WithCancel(ctx)
	return group{ctx: ctx, cancel: cancel}
}

func (g *group) end() {
	g.cancel()
	g.wg.Wait()
}

// run starts the parts. Where one fails, those before it are stopped again.
func (w *Worker) run(ctx context.Context, sessions bool) (*running, error) {
	r := &running{logger: w.logger, yielder: newYielder(w.cfg), hold: newHold(w.logger)}
	r.batcher = jobs.NewBatcher(jobs.BatcherConfig{
		Pool: w.cfg.Pool, Lanes: w.cfg.Lanes, Waited: r.yielder.waited, Turn: r.yielder.turn,
		Observe: func(b jobs.Batch) {
			w.cfg.Metrics.Composed(b)
			if b.Emission != nil {
				r.emitter.announced(context.WithoutCancel(ctx), *b.Emission, b.Began)
			}
		},
	})
	if err := r.open(ctx, w.cfg, sessions, jobs.NewWorker(r.batcher, r.hold, w.report, w.cfg.tracer())); err != nil {
		r.close()
		return nil, err
	}
	base := context.WithoutCancel(ctx)
	r.taking, r.emitting, r.serving = newGroup(base), newGroup(base), newGroup(base)
	r.start(&r.taking, "relay", r.relay.Run)
	r.start(&r.taking, "yielder", r.yielder.run)
	r.start(&r.taking, "resumer", r.resumer.Run)
	r.start(&r.taking, "pruner", r.pruner.Run)
	r.start(&r.taking, "verifier", r.verifier.Run)
	r.start(&r.emitting, "emitter", r.emitter.Run)
	r.start(&r.serving, "rescuer", r.rescuer.Run)
	if sessions {
		r.start(&r.serving, "listener", r.listener.Run)
		r.start(&r.serving, "session", r.session.run)
	}
	return r, nil
}

// start runs a part; one that ends before it was told to is a bug that the log must show.
func (r *running) start(g *group, name string, part func(context.Context) error) {
	g.wg.Go(func() {
		if err := part(g.ctx); err != nil && g.ctx.Err() == nil {
			r.logger.ErrorContext(g.ctx, "Worker: a part ended", slog.String("part", name), slog.String("error", err.Error()))
		}
	})
}

// open connects what needs a connection of its own, starts River, and builds the parts.
func (r *running) open(ctx context.Context, cfg Config, sessions bool, work *jobs.Worker) error {
	lockKey := rand.Int32() //nolint:gosec // tells processes apart, guards nothing
	eventBell, emissionBell, gateBell := listen.NewBell(), listen.NewBell(), listen.NewBell()
	if sessions {
		r.listener = listen.New(listen.Config{
			Pool: cfg.Pool, Direct: cfg.Direct, Logger: r.logger, Observe: cfg.Metrics.Listening,
		})
		cfg.Metrics.Listening(false) // not yet
		eventBell, emissionBell, gateBell = r.listener.On(ChannelEvent), r.listener.On(ChannelEmission), r.listener.On(ChannelGate)
		session := newSession(cfg.Direct, r.logger, lockKey)
		if err := session.open(ctx); err != nil {
			return fmt.Errorf("open the worker's session: %w", err)
		}
		r.session = session
		listens, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), listensConfig(cfg))
		if err != nil {
			return fmt.Errorf("open River's listener: %w", err)
		}
		r.listens = listens
	}
	inserter, err := newInserter(cfg)
	if err != nil {
		return err
	}
	lost := func(what string) *listen.Outage {
		outage := &listen.Outage{
			Logger: r.logger, What: what + ": database", Name: faultName,
			Observe: func() { cfg.Metrics.Failed(strings.ToLower(what)) },
		}
		r.outages = append(r.outages, outage)
		return outage
	}
	r.relay = &Relay{
		pool: cfg.Pool, client: inserter, batch: cfg.RelayBatch, logger: r.logger, outage: lost("Relay"), metrics: cfg.Metrics,
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
	r.rescuer = &Rescuer{
		pool: cfg.Pool, id: cfg.ID, lockKey: lockKey, active: work.Active, logger: r.logger, outage: lost("Rescuer"),
		metrics: cfg.Metrics,
		about:   presence{Hostname: hostname(), PID: os.Getpid(), Version: cfg.Version},
	}
	return r.startRiver(ctx, cfg, work) // from now on there are jobs, that need the other parts
}

// listensConfig is a pool of one connection for River to listen on.
func listensConfig(cfg Config) *pgxpool.Config {
	pool := cfg.Pool.Config()
	pool.ConnConfig = listen.KeepAlive(cfg.Direct)
	pool.MinConns, pool.MinIdleConns, pool.MaxConns = 0, 0, 1
	return pool
}

func (r *running) startRiver(ctx context.Context, cfg Config, work *jobs.Worker) error {
	var mayReindex bool
	err := cfg.Pool.QueryRow(ctx, `
		SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass('iu_river.river_job')`).Scan(&mayReindex)
	if err != nil {
		return fmt.Errorf("look for River's tables: %w", err)
	}
	client, err := newRiver(cfg, work, r.listens, mayReindex)
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
	if r.listens != nil {
		r.listens.Close()
	}
}

// stop ends the parts in the order of the way: nothing new is taken in, jobs end, what they composed is announced,
// and then what all of them needed goes.
func (r *running) stop(ctx context.Context) error {
	r.taking.end()
	r.yielder.end()
	err := r.stopRiver(ctx)
	r.emitting.end()
	r.emitter.Finish(ctx)
	r.serving.end()
	err = errors.Join(err, r.rescuer.leave(ctx))
	r.close()
	return err
}

// stopRiver lets jobs end for as long as ctx leaves room to give back those that do not.
func (r *running) stopRiver(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return r.client.Stop(ctx)
	}
	room := min(time.Until(deadline)/4, 3*time.Second)
	soft, cancel := context.WithDeadline(ctx, deadline.Add(-room))
	defer cancel()
	if err := r.client.Stop(soft); err == nil {
		return nil
	}
	r.logger.WarnContext(ctx, "Worker: cutting off jobs that outlast the shutdown timeout")
	if err := r.client.StopAndCancel(ctx); err != nil {
		return fmt.Errorf("stop River: %w", err)
	}
	return nil
}
