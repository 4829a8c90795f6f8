package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
	iusql "github.com/iu-core/iuworker/sql"
)

// running is what Start started and Stop stops: River's client and the parts around it.
type running struct {
	cfg    Config
	logger *slog.Logger

	lease    *lease
	listener *listen.Listener // nil: polling
	session  *session         // nil: polling
	calm     calm

	throttle          *compose.Throttle
	events, scaleouts *compose.Batcher
	hold              *compose.Hold
	work              *compose.Worker
	client            *river.Client[pgx.Tx]

	control  *riverControl
	backlogs map[string]*backlog // by queue
	emitter  *emitter
	outages  []*retry.Outage // of the parts

	taking, emitting, serving group // in the order in which they stop
}

// run connects what needs a connection of its own, and starts River and the parts. If something fails, run stops what has
// started.
func (w *Worker) run(ctx context.Context, sessions bool) (*running, error) {
	r := &running{cfg: w.cfg, logger: w.logger, throttle: compose.NewThrottle(w.cfg.Rate), hold: newHold(w.logger)}
	r.lease = &lease{
		pool: w.cfg.Pool, id: w.cfg.ID, hostname: names.Host(), pid: os.Getpid(), version: w.cfg.Version,
		session: func() *session { return r.session }, clock: &clock{}, logger: w.logger,
	}
	base := context.WithoutCancel(ctx)
	report := &reporter{tools: tools{pool: w.cfg.Pool, logger: w.logger}, id: r.lease.incarnation, settings: w.cfg.settings(), load: r.load}
	batcher := func(lanes int, apart *compose.Batcher) *compose.Batcher {
		return compose.NewBatcher(compose.BatcherConfig{
			Pool: w.cfg.Pool, Lanes: lanes, Apart: apart, Throttle: r.throttle, Incarnation: r.lease.incarnation,
			ByFunction: w.cfg.ComposeBy == ComposeByFunction,
			Observe: func(b compose.Batch) {
				w.cfg.metrics.Composed(b)
				if !b.Split {
					report.composed.Add(int64(b.Events))
				}
				if b.Emission != nil {
					r.emitter.announced(base, *b.Emission, b.Began)
				}
			},
		})
	}
	r.events = batcher(w.cfg.Lanes, nil)
	r.scaleouts = batcher(w.cfg.scaleoutLanes(), r.events)
	r.work = compose.NewWorker(compose.WorkerConfig{
		Events: r.events, Scaleouts: r.scaleouts, Hold: r.hold, Observe: r.observe(w.report), Tracer: w.cfg.jobTracer(), Now: r.lease.clock.Now,
	})
	parts, err := r.open(ctx, sessions, report, w.fail)
	if err != nil {
		_ = r.lease.giveUp(base) // the error that matters is err
		r.close()
		return nil, err
	}
	r.taking, r.emitting, r.serving = newGroup(base), newGroup(base), newGroup(base)
	for _, p := range parts {
		r.start(p.group, p.name, p.run)
	}
	return r, nil
}

// open takes the lease, connects the listener and the session, makes the parts, and starts River.
func (r *running) open(ctx context.Context, sessions bool, report *reporter, failed func(error)) ([]part, error) {
	cfg := r.cfg
	if err := r.lease.take(ctx); err != nil {
		return nil, err
	}
	if sessions {
		r.listener = listen.New(listen.Config{Pool: cfg.Pool, Direct: cfg.Direct, Logger: r.logger, Observe: cfg.metrics.Listening})
		cfg.metrics.Listening(false) // not yet
		session := newSession(cfg.Direct, r.logger)
		session.moved = r.listener.Reconnect // it may still listen on the server that was left
		session.renews = sameAddress(cfg.Pool.Config().ConnConfig, cfg.Direct)
		if err := session.open(ctx); err != nil {
			return nil, fmt.Errorf("open the worker's session: %w", err)
		}
		r.session = session
	}
	inserter, err := newInserter(cfg)
	if err != nil {
		return nil, err
	}
	r.calm.listener, r.calm.resumer, r.calm.fetch = r.listener, r.bell(names.ChannelGate), r.bell(names.ChannelGate)
	r.control = newRiverControl(cfg.Pool, r.listener, slices.Collect(maps.Keys(cfg.queues(r.throttle))), r.work.ActiveJobs, r.logger)
	r.control.poll, r.control.fetch = r.poll(controlPoll), r.poll(cfg.PollInterval)
	parts := r.parts(inserter, report, failed)
	return parts, r.startRiver(ctx) // from now on there are jobs, which need the parts
}

// part is what runs in a worker next to River, until the context of its group ends.
type part struct {
	name  string
	group *group
	run   func(context.Context) error
}

// parts returns all parts.
func (r *running) parts(inserter *river.Client[pgx.Tx], report *reporter, failed func(error)) []part {
	cfg := r.cfg
	r.emitter = &emitter{
		tools: r.tools("emitter"), session: r.session, batch: cfg.EmitBatch, tracer: cfg.tracer(),
		sleeper: r.sleeper(lockEmitterSleeps, names.ChannelEmission),
	}
	relay := &relay{
		tools: r.tools("relay"), client: inserter, work: r.work, lanes: cfg.relayLanes(), by: r.lease.incarnation, batch: cfg.RelayBatch,
		tracer:  cfg.tracer(),
		sleeper: r.sleeper(lockRelaySleeps, names.ChannelEvent),
		keeps:   cfg.Pool.Config().MaxConns > reserved,
	}
	resumer := &resumer{tools: r.tools("resumer"), hold: r.hold, bell: r.calm.resumer, poll: r.poll(cfg.SweepInterval)}
	pruner := &pruner{tools: r.tools("pruner"), retention: cfg.EmissionRetention, expiry: cfg.ConsumerExpiry}
	verifier := &verifier{tools: r.tools("verifier"), session: r.session, interval: cfg.VerifyInterval}
	historian := &historian{tools: r.tools("historian"), now: r.lease.clock.Now}
	rescuer := &rescuer{tools: r.tools("rescuer"), lease: r.lease, active: r.work.Active, taken: failed}
	parts := []part{
		{"relay", &r.taking, relay.run},
		{"resumer", &r.taking, resumer.run},
		{"pruner", &r.taking, pruner.run},
		{"verifier", &r.taking, verifier.run},
		{"historian", &r.taking, historian.run},
		{"reporter", &r.taking, report.run},
		{"emitter", &r.emitting, r.emitter.run},
		{"rescuer", &r.serving, rescuer.run},
		{"control", &r.serving, r.control.run},
		{"fetch", &r.serving, r.control.runFetch},
	}
	r.backlogs = make(map[string]*backlog)
	for queue, bell := range r.control.inserts {
		b := &backlog{
			logger: r.logger, queue: queue, work: r.work, by: r.lease.incarnation, lanes: cfg.relayLanes(), full: listen.NewBell(), fetch: bell,
		}
		if queue == jobs.QueueScaleout {
			b.lanes = cfg.scaleoutLanes()
		}
		r.backlogs[queue] = b
		parts = append(parts, part{"backlog of " + queue, &r.taking, b.run})
	}
	if r.session != nil {
		parts = append(parts, part{"listener", &r.serving, r.listener.Run}, part{"session", &r.serving, r.session.run})
	}
	return parts
}

// bell returns the doorbell of a channel. It never rings if the worker polls.
func (r *running) bell(channel string) listen.Bell {
	if r.listener == nil {
		return listen.NewBell()
	}
	return r.listener.On(channel)
}

func (r *running) sleeper(key int32, channel string) sleeper {
	return sleeper{session: r.session, key: key, bell: r.bell(channel), poll: r.poll(r.cfg.PollInterval)}
}

// sameAddress reports whether two configurations connect as the same login to the same database of the same servers.
func sameAddress(a, b *pgx.ConnConfig) bool {
	same := a.Host == b.Host && a.Port == b.Port && a.Database == b.Database && a.User == b.User
	return same && slices.EqualFunc(a.Fallbacks, b.Fallbacks, func(a, b *pgconn.FallbackConfig) bool {
		return a.Host == b.Host && a.Port == b.Port
	})
}

// observe returns report, and notes which jobs were put off.
func (r *running) observe(report func(compose.Outcome)) func(compose.Outcome) {
	return func(o compose.Outcome) {
		if o.Ending == compose.EndingParked || o.Ending == compose.EndingRetried {
			r.calm.putOff()
		}
		report(o)
	}
}

func (r *running) startRiver(ctx context.Context) error {
	var mayReindex bool
	err := r.cfg.Pool.QueryRow(ctx, `
		SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass($1)`, iusql.JobTable).Scan(&mayReindex)
	if err != nil {
		return fmt.Errorf("look for River's tables: %w", err)
	}
	driver := newWorkDriver(r.cfg.Pool, r.control, r.lease.clock, r.work, r.backlogs, r.logger)
	client, err := newRiver(r.cfg, r.work, r.throttle, driver, mayReindex)
	if err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start River: %w", err)
	}
	r.client = client
	return nil
}

// close gives back what run opened; the parts have ended, or never began.
func (r *running) close() {
	r.throttle.Lift()
	r.events.Close()
	r.scaleouts.Close()
	if r.session != nil {
		r.session.drop()
	}
}
