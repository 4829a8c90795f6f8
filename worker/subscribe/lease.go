package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/retry"
)

// errLeaseLost means that another process may have taken over the consumer.
var errLeaseLost = errors.New("the consumer's lease was lost")

// lease makes one of the processes with a consumer's name the active one. It has its own connection, because handlers may use
// the whole pool. It depends on no session state, so it works through a transaction pooler. Not safe for concurrent use.
type lease struct {
	direct  *pgx.ConnConfig
	name    string
	process string
	ttl     time.Duration
	logger  *slog.Logger
	outage  *retry.Outage
	conn    *pgx.Conn
	mayHold bool // whether this process may have the lease, as far as it knows
}

func newLease(cfg Config, process string) *lease {
	return &lease{
		direct: listen.KeepAlive(cfg.Direct), name: cfg.Consumer, process: process, ttl: cfg.LeaseTTL, logger: cfg.Logger,
		outage: &retry.Outage{Logger: cfg.Logger, What: "Subscriber: lease connection"},
	}
}

// hold requests or renews the lease, and returns held, taken or gone (the consumer was deleted). It waits for the reply even
// if ctx ends: a lease granted to a process that no longer waits for it would block the others.
func (l *lease) hold(ctx context.Context) (state string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(l.ttl*2/5, time.Second))
	defer cancel()
	l.mayHold = true
	if err = l.connect(ctx); err == nil {
		err = l.conn.QueryRow(ctx, "SELECT iu_outbox.hold_consumer($1, $2, $3)", l.name, l.process, l.ttl).Scan(&state)
	}
	if err != nil {
		l.close()
		return "", fmt.Errorf("hold consumer %q: %w", l.name, err)
	}
	l.mayHold = state == "held"
	return state, nil
}

func (l *lease) connect(ctx context.Context) (err error) {
	if l.conn == nil {
		l.conn, err = pgx.ConnectConfig(ctx, l.direct)
	}
	return err
}

func (l *lease) close() {
	if l.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(ctx) // when ctx ends, pgx closes the socket
	l.conn = nil
}

// acquire waits until this process has the lease, and returns the time until which the lease certainly lasts. It calls observe
// each time it finds that another process has the lease, and returns observe's error.
func (l *lease) acquire(ctx context.Context, observe func(context.Context) error) (time.Time, error) {
	standby := false
	for {
		begun := time.Now()
		state, err := l.hold(ctx)
		wait := l.ttl / 5
		switch {
		case ctx.Err() != nil:
			return time.Time{}, ctx.Err()
		case err != nil && !retry.MayPass(err):
			return time.Time{}, err
		case err != nil:
			wait = retry.Reconnect.Wait(l.outage.Failed(ctx, err))
		case state == "gone":
			return time.Time{}, fmt.Errorf("%w %q: it was deleted while it ran", ErrNoConsumer, l.name)
		default:
			l.outage.Worked(ctx)
		}
		if state == "held" {
			return begun.Add(l.ttl), nil
		}
		if state == "taken" {
			if err := observe(ctx); err != nil {
				return time.Time{}, err
			}
			if !standby {
				standby = true
				l.logger.InfoContext(ctx, "Subscriber: another process works for this consumer; standing by")
			}
		}
		if !retry.Pause(ctx, wait) {
			return time.Time{}, ctx.Err()
		}
	}
}

// keep renews the lease until stop is called. It returns a context that ends with ctx, or with the cause errLeaseLost if the
// lease is lost.
func (l *lease) keep(ctx context.Context, until time.Time) (held context.Context, stop func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(l.renew(held, until))
	}()
	return held, func() {
		cancel(nil)
		<-done
	}
}

// renew renews the lease. It returns errLeaseLost if the lease is lost, and nil if ctx ends.
func (l *lease) renew(ctx context.Context, until time.Time) error {
	for retry.Pause(ctx, l.ttl/5) {
		begun := time.Now()
		state, err := l.hold(ctx)
		switch {
		case err == nil && state == "held":
			l.outage.Worked(ctx)
			until = begun.Add(l.ttl)
			continue
		case err == nil:
			return errLeaseLost
		}
		l.outage.Failed(ctx, err)
		if time.Now().After(until) {
			return errLeaseLost
		}
	}
	return nil
}

// release ends the lease if this process has it: another process can take over at once. If that fails, the lease expires.
func (l *lease) release(ctx context.Context) {
	defer l.close()
	if !l.mayHold {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := l.connect(ctx)
	if err == nil {
		_, err = l.conn.Exec(ctx, `
			UPDATE iu_outbox.consumer_lease AS l SET lease_until = pg_catalog.clock_timestamp()
			WHERE l.consumer = $1 AND l.process = $2 AND l.lease_until > pg_catalog.clock_timestamp()`, l.name, l.process)
	}
	if err != nil {
		l.logger.DebugContext(ctx, "Subscriber: could not release the lease; it expires by itself", slog.String("error", err.Error()))
	}
}
