package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/retry"
)

// ErrIDTaken means that another living process works under the same id. Its jobs and this one's could not be told apart.
var ErrIDTaken = errors.New("another worker has the same id")

// heartbeat is how often a lease is renewed; functions/lease.sql has the rest of the rule.
const heartbeat = 2 * time.Second

// lease is this process's row in iu_outbox.worker: while it is there and renewed, the process has not been taken for dead.
// Safe for concurrent use, but for renew, which one goroutine calls.
type lease struct {
	pool     *pgxpool.Pool
	id       string
	hostname string
	pid      int
	version  string
	session  func() *session // the one with advisory locks; nil: there is none
	clock    *clock
	logger   *slog.Logger

	apart     bool         // a renewal on the session waited too long for a lock: none must until one has succeeded
	number    atomic.Int32 // lock_key: of this incarnation
	renewed   time.Time    // by the server; zero: not yet
	renewedAt time.Time    // by this machine
}

// incarnation returns the incarnation that composes now.
func (l *lease) incarnation() compose.Incarnation {
	return compose.Incarnation{Worker: l.id, Number: l.number.Load()}
}

// take makes this process a new incarnation, and sets the clock. If another process has the lease, take waits until it expires; a renewal
// meanwhile means that that process lives: ErrIDTaken.
func (l *lease) take(ctx context.Context) error {
	number := rand.Int32() //nolint:gosec // tells incarnations apart, guards nothing
	var first *time.Time
	for {
		from := time.Now()
		var taken bool
		var released *int
		var holder *string
		var renewed *time.Time
		err := l.pool.QueryRow(ctx, "SELECT taken, released, holder, seen_at FROM iu_outbox.take_lease($1, $2, $3, $4, $5)",
			l.id, number, l.hostname, l.pid, l.version).Scan(&taken, &released, &holder, &renewed)
		switch {
		case err != nil:
			return fmt.Errorf("take the lease of worker %s: %w", l.id, err)
		case taken:
			l.number.Store(number) // jobs that were fetched before are not this incarnation's
			l.clock.set(*renewed, from, time.Now())
			if released != nil {
				l.logger.WarnContext(ctx, "Worker: the last process with this id died; its running jobs run again",
					slog.String("worker", l.id), slog.Int("jobs", *released))
			}
			return nil
		case renewed == nil: // its holder has just given it up
		case first == nil:
			first = renewed
		case !renewed.Equal(*first):
			return fmt.Errorf("%w: %s lives on %s; give each process its own --worker-id, or none", ErrIDTaken, l.id, *holder)
		}
		if !retry.Pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("wait for the lease of worker %s: %w", l.id, ctx.Err())
		}
	}
}

// renewal is what a process learns from renewing its lease.
type renewal struct {
	alive   bool // false: it was taken for dead
	sweeps  bool // it is the one to sweep, and there may be something to sweep
	setBack bool // the server's clock was set back since the last renewal, or may have been before the first one

	leftBehind []int64        // jobs that the table has given to this process for seconds
	nextExpiry *time.Duration // until the first lease expires
}

// next returns how long to wait until the next renewal: a heartbeat, or less if a lease expires sooner. That lease may be the
// sweeper's, and then this process may be the next one to sweep.
func (r renewal) next() time.Duration {
	if r.nextExpiry == nil {
		return heartbeat
	}
	return min(heartbeat, max(*r.nextExpiry, 0)+10*time.Millisecond)
}

const renewSQL = "SELECT seen_at, sweeps, left_behind, next_expiry FROM iu_outbox.renew_lease($1, $2, NULLIF($3::integer, 0))"

// renew renews the lease, and sets the clock by the reply.
func (l *lease) renew(ctx context.Context) (renewal, error) {
	var seen *time.Time
	var sweeps *bool
	var leftBehind []int64
	var nextExpiry *time.Duration
	into := []any{&seen, &sweeps, &leftBehind, &nextExpiry}
	from := time.Now()
	renewed, err := l.renewBySession(ctx, into)
	if !renewed && err == nil {
		from = time.Now()
		err = l.pool.QueryRow(ctx, renewSQL, l.id, l.number.Load(), l.session().pid()).Scan(into...)
	}
	if err != nil {
		return renewal{}, fmt.Errorf("renew the lease: %w", err)
	}
	l.apart = false
	if seen == nil {
		return renewal{}, nil
	}
	now := time.Now()
	l.clock.set(*seen, from, now)
	setBack := l.renewed.IsZero() || seen.Sub(l.renewed) < now.Sub(l.renewedAt)-10*time.Second
	l.renewed, l.renewedAt = *seen, now
	return renewal{alive: true, sweeps: *sweeps, setBack: setBack, leftBehind: leftBehind, nextExpiry: nextExpiry}, nil
}

// renewBySession renews the lease on the session's connection, which also checks the session. It returns false if the pool has to renew
// the lease: the session is lost, is connected to another address than the pool, or waited for a lock last time. An error means that
// the renewal waited too long for a lock.
func (l *lease) renewBySession(ctx context.Context, into []any) (bool, error) {
	s := l.session()
	if s == nil || !s.renews {
		return false, nil
	}
	if l.apart {
		_ = s.alive(ctx) // if this fails, the session ends, and is opened again
		return false, nil
	}
	err := s.queryRow(ctx, into, renewSQL, l.id, l.number.Load(), s.pid())
	if isCode(err, pgerrcode.LockNotAvailable) {
		l.apart = true
		return false, err
	}
	return err == nil, nil
}

// giveUp deletes the row: what the process still ran was given back by the shutdown.
func (l *lease) giveUp(ctx context.Context) error {
	_, err := l.pool.Exec(ctx, "DELETE FROM iu_outbox.worker AS w WHERE w.id = $1 AND w.lock_key = $2", l.id, l.number.Load())
	if err != nil {
		return fmt.Errorf("sign off: %w", err)
	}
	return nil
}
