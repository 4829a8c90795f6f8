package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/retry"
)

// ErrIDTaken means that another living process works under the same id. Its jobs and this one's could not be told apart.
var ErrIDTaken = errors.New("another worker has the same id")

// heartbeat is how often a lease is renewed; functions/lease.sql has the rest of the rule.
const heartbeat = time.Second

// lease is this process's row in iu_outbox.worker: while it is there and renewed, the process has not been taken for dead.
// Safe for concurrent use, but for renew, which one goroutine calls.
type lease struct {
	pool     *pgxpool.Pool
	id       string
	hostname string
	pid      int
	version  string
	session  func() int32 // the backend of the session with advisory locks; 0: there is none
	clock    *clock
	logger   *slog.Logger

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
	sweeps  bool // it is the one to look for the dead, and there may be some
	setBack bool // the server's clock was set back since the last renewal, or may have been before the first one

	leftBehind []int64 // jobs that the table has given to this process for seconds
}

// renew renews the lease, and sets the clock by the reply.
func (l *lease) renew(ctx context.Context) (renewal, error) {
	var seen *time.Time
	var sweeps *bool
	var leftBehind []int64
	from := time.Now()
	err := l.pool.QueryRow(ctx, "SELECT seen_at, sweeps, left_behind FROM iu_outbox.renew_lease($1, $2, NULLIF($3::integer, 0))",
		l.id, l.number.Load(), l.session()).Scan(&seen, &sweeps, &leftBehind)
	if err != nil {
		return renewal{}, fmt.Errorf("renew the lease: %w", err)
	}
	if seen == nil {
		return renewal{}, nil
	}
	now := time.Now()
	l.clock.set(*seen, from, now)
	setBack := l.renewed.IsZero() || seen.Sub(l.renewed) < now.Sub(l.renewedAt)-10*time.Second
	l.renewed, l.renewedAt = *seen, now
	return renewal{alive: true, sweeps: *sweeps, setBack: setBack, leftBehind: leftBehind}, nil
}

// giveUp deletes the row: what the process still ran was given back by the shutdown.
func (l *lease) giveUp(ctx context.Context) error {
	_, err := l.pool.Exec(ctx, "DELETE FROM iu_outbox.worker AS w WHERE w.id = $1 AND w.lock_key = $2", l.id, l.number.Load())
	if err != nil {
		return fmt.Errorf("sign off: %w", err)
	}
	return nil
}
