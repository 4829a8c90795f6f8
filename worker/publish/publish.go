package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// Config configures a publisher. The zero value of a field means its default.
type Config struct {
	// Pool reads events and moves the consumer. Required.
	Pool *pgxpool.Pool

	// Direct is where the connections are opened that listen and that keep the lease. Default: the pool's address.
	Direct *pgx.ConnConfig

	// Sink is the log. Required.
	Sink Sink

	// Consumer is the durable consumer's name. Required.
	Consumer string

	// Source is the CloudEvents source of this database (Identify). Required.
	Source string

	// Filter selects events.
	Filter subscribe.Filter

	// From is where a new consumer begins, and where to continue if the log cannot say it: it was recreated, or lacks events that
	// were pruned. Decides must be set for the latter.
	From    subscribe.Start
	Decides bool

	// Page is the most events that are read at once, and after which the consumer's row moves. Default 2,048.
	Page int

	// ContinueRewound continues after the last common position if the history was rewound. Default: Run ends with a RewoundError.
	ContinueRewound bool

	// MaxTries is how often an event is refused before it becomes a dead letter of the consumer. Default 0: no limit.
	MaxTries int

	// LeaseTTL is as in subscribe.Config.
	LeaseTTL time.Duration

	// Metrics counts. Default: nothing does.
	Metrics *metrics.Publisher

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

const (
	defaultPage = 2048
	// drainTimeout is how long a page that is being published may take after ctx has ended.
	drainTimeout = 3 * time.Second
)

func (c Config) withDefaults() (Config, error) {
	if c.Pool == nil || c.Sink == nil || c.Consumer == "" || c.Source == "" {
		return c, errors.New("publish: Config.Pool, Sink, Consumer and Source are required")
	}
	if c.Page == 0 {
		c.Page = defaultPage
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With(slog.String("consumer", c.Consumer))
	if c.Metrics == nil {
		c.Metrics = metrics.NewPublisher(prometheus.NewRegistry(), nil)
	}
	return c, nil
}

// Publisher publishes events until Run returns.
type Publisher struct {
	cfg    Config
	outage *retry.Outage // of the broker
}

// New checks the configuration. It does not connect.
func New(cfg Config) (*Publisher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Publisher{cfg: cfg, outage: &retry.Outage{Logger: cfg.Logger, What: "Publisher: broker"}}, nil
}

// Run publishes events in the order of their positions until ctx ends; then it returns nil, unless what it was sending at that
// time is not acknowledged. It waits for the end of outages of the broker and of the database. It returns an error if it cannot
// continue: the history was rewound or pruned, the log is not ours or was recreated, or it refuses this login.
func (p *Publisher) Run(ctx context.Context) error {
	// Before the consumer is made: a log that is not ours must not leave one behind.
	if _, err := p.last(ctx, p.cfg.Sink.Peek); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // nothing was sent
		}
		return err
	}
	var unfinished error
	err := subscribe.RunBatch(ctx, subscribe.Config{
		Pool: p.cfg.Pool, Direct: p.cfg.Direct, Consumer: p.cfg.Consumer, From: p.cfg.From, Filter: p.cfg.Filter, MaxBatch: p.cfg.Page,
		LeaseTTL: p.cfg.LeaseTTL, Resume: p.resume, Doubt: p.cfg.Sink.Reconnected, Logger: p.cfg.Logger, Retry: p.retry(),
	}, func(holding context.Context, events []subscribe.Event) error {
		err := p.publish(holding, events)
		// If only the lease was lost, its next holder asks the log which of them it has.
		if away, ok := errors.AsType[*AwayError](err); ctx.Err() != nil && (!ok || !away.Replied) {
			unfinished = err
		}
		return err
	})
	if err == nil && unfinished != nil {
		return fmt.Errorf("the last messages were sent, and not acknowledged before the end (the next start asks the log for them): %w", unfinished)
	}
	return err
}

func (p *Publisher) retry() subscribe.Retry {
	r := subscribe.Retry{Backoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second}
	if p.cfg.MaxTries > 0 {
		r.MaxTries, r.OnExhausted = p.cfg.MaxTries, subscribe.DeadLetter
	}
	return r
}

// BrokerUp reports whether the broker can be reached and takes events. Safe for concurrent use.
func (p *Publisher) BrokerUp() bool { return p.cfg.Sink.Connected() == nil && p.outage.Tries() == 0 }

// Ready returns why the publisher cannot publish: the broker or the database is away. Safe for concurrent use.
func (p *Publisher) Ready(ctx context.Context) error {
	if err := p.cfg.Sink.Connected(); err != nil {
		return fmt.Errorf("the broker is away: %w", err)
	}
	if p.outage.Tries() > 0 {
		return errors.New("the broker takes no events")
	}
	if err := p.cfg.Pool.Ping(ctx); err != nil {
		return fmt.Errorf("the database is away: %w", err)
	}
	return nil
}

// publish publishes a page. If ctx ends meanwhile, the page has drainTimeout to finish.
func (p *Publisher) publish(ctx context.Context, events []subscribe.Event) error {
	draining, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(drainTimeout, func() { stop(fmt.Errorf("no acknowledgement within %s", drainTimeout)) })
		context.AfterFunc(draining, func() { timer.Stop() })
	})()
	err := p.cfg.Sink.Publish(draining, events)
	_, refused := errors.AsType[*RefusedError](err)
	switch {
	case err == nil:
		p.outage.Worked(ctx)
		return nil
	case refused:
		return err
	case draining.Err() != nil:
		return context.Cause(draining)
	case isAway(err):
		p.outage.Failed(ctx, err)
		return subscribe.Again(err)
	}
	return subscribe.Stop(err)
}

// last asks the log for its end, until it replies.
func (p *Publisher) last(ctx context.Context, ask func(context.Context) (End, error)) (End, error) {
	for {
		end, err := ask(ctx)
		switch {
		case err == nil:
			p.outage.Worked(ctx)
			return end, p.check(end)
		case ctx.Err() != nil:
			return End{}, ctx.Err()
		case !isAway(err):
			return End{}, err
		}
		retry.Pause(ctx, retry.Reconnect.Wait(p.outage.Failed(ctx, err)))
	}
}

func (p *Publisher) check(end End) error {
	if end.State == StateHolds && end.Source != p.cfg.Source {
		return fmt.Errorf("%w: its last message is of source %q, and this database is %q; give each database a log of its own",
			ErrNotOurs, end.Source, p.cfg.Source)
	}
	return nil
}
