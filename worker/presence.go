package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// ErrIDTaken means that another living process works under the same id. Its jobs and this one's could not be told apart.
var ErrIDTaken = errors.New("another worker has the same id")

// presence is this process's row in iu_outbox.worker: that it is there says that the process was not taken for dead,
// and seen_at says that it lives. Safe for concurrent use.
type presence struct {
	pool     *pgxpool.Pool
	id       string
	about    about
	sessions bool // it holds a session lock
	clock    *clock
	logger   *slog.Logger
	number   atomic.Int32 // lock_key: of this incarnation
	last     time.Time    // seen_at of the last beat; zero: none yet. For beat alone
	lastAt   time.Time    // when that was, by this machine
}

// about is the part of a row that is for people to read.
type about struct {
	Hostname string
	PID      int
	Version  string
}

// incarnation returns the incarnation that composes now.
func (p *presence) incarnation() jobs.Incarnation {
	return jobs.Incarnation{Worker: p.id, Number: p.number.Load()}
}

// known is the row of a worker.
type known struct {
	LockKey int32
	SeenAt  time.Time
	Age     float64 // seconds since then, or until then
	Held    bool    // its lock, by a session that may
	Session bool
	Host    string
	PID     int
}

const knownSQL = `
	SELECT w.lock_key, w.seen_at,
	       pg_catalog.abs(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - w.seen_at))::double precision AS age,
	       EXISTS (SELECT FROM iu_outbox.lock_holder AS h
	               WHERE h.class = $2 AND h.key = w.lock_key AND NOT h.shared AND h.may_work) AS held,
	       w.session, w.hostname AS host, w.pid
	FROM iu_outbox.worker AS w WHERE w.id = $1`

// look returns nil if there is no row.
func (p *presence) look(ctx context.Context) (*known, error) {
	rows, err := p.pool.Query(ctx, knownSQL, p.id, lockClassWorker)
	if err != nil {
		return nil, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[known])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return row, err
}

// join makes the row of a new incarnation. One of the id that is there already is taken over, with its jobs, if its
// process is dead: it held a lock that is free now and missed a heartbeat, or it missed several. A beat meanwhile
// means that it lives: ErrIDTaken.
func (p *presence) join(ctx context.Context) error {
	number := rand.Int32() //nolint:gosec // tells incarnations apart, guards nothing
	var first *known
	for since := time.Now(); ; {
		row, err := p.look(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("look for another worker of this id: %w", err)
		case row == nil:
			joined, err := p.insert(ctx, number)
			if err != nil || joined {
				return err
			}
			continue
		case first == nil:
			first = row
		case row.LockKey != first.LockKey || !row.SeenAt.Equal(first.SeenAt):
			return fmt.Errorf("%w: %s lives on %s, pid %d; give each process its own --worker-id, or none", ErrIDTaken, p.id, row.Host, row.PID)
		}
		// A process that lives beats meanwhile, though it may just be connecting its session again.
		if gone := row.Session && !row.Held && row.Age > missedBeat.Seconds(); gone || time.Since(since) > patienceWith(row) {
			if err := p.bury(ctx, row); err != nil {
				return err
			}
			continue
		}
		if !retry.Pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("wait for the last heartbeat of %s: %w", p.id, ctx.Err())
		}
	}
}

// missedBeat is how long after a heartbeat the next one is missing.
const missedBeat = 2 * heartbeatInterval

// patienceWith is how long a row may stay the same whose process lives.
func patienceWith(row *known) time.Duration {
	if row.Held {
		return deadAfter
	}
	return staleAfter
}

func (p *presence) bury(ctx context.Context, row *known) error {
	var released *int
	err := p.pool.QueryRow(ctx, "SELECT iu_outbox.bury($1, $2, $3)", p.id, row.LockKey, row.SeenAt).Scan(&released)
	if err != nil {
		return fmt.Errorf("take over from the dead worker %s: %w", p.id, err)
	}
	if released != nil {
		p.logger.WarnContext(ctx, "Worker: the last process with this id died; its running jobs run again",
			slog.String("worker", p.id), slog.Int("pid", row.PID), slog.Int("jobs", *released))
	}
	return nil
}

// insert reports whether the row could be made: nobody else of this id was faster. Jobs that run under the id are nobody's.
func (p *presence) insert(ctx context.Context, number int32) (bool, error) {
	var inserted bool
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, session, seen_at)
			VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp())
			ON CONFLICT (id) DO NOTHING`, p.id, number, p.about.Hostname, p.about.PID, p.about.Version, p.sessions)
		if inserted = tag.RowsAffected() == 1; err != nil || !inserted {
			return err
		}
		_, err = tx.Exec(ctx, "SELECT iu_outbox.release_jobs($1, NULL)", p.id)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("write a heartbeat: %w", err)
	}
	if inserted {
		p.number.Store(number) // jobs that were taken before are not this incarnation's
	}
	return inserted, nil
}

// The row of a leader that expires later than any that River elects was written before the server's clock was set back.
const beatSQL = `
	WITH unbelieved AS (
		DELETE FROM iu_river.river_leader AS l WHERE l.expires_at > pg_catalog.clock_timestamp() + interval '1 minute'
	)
	UPDATE iu_outbox.worker AS w SET seen_at = pg_catalog.clock_timestamp()
	WHERE w.id = $1 AND w.lock_key = $2
	RETURNING w.seen_at`

// beat writes a heartbeat, and takes the server's time from the reply. alive is false if the process was
// taken for dead. setBack is true after a start, and if the server's clock was set back since the last beat.
func (p *presence) beat(ctx context.Context) (alive, setBack bool, err error) {
	from := time.Now()
	var seen time.Time
	err = p.pool.QueryRow(ctx, beatSQL, p.id, p.number.Load()).Scan(&seen)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("write a heartbeat: %w", err)
	}
	now := time.Now()
	p.clock.set(seen, from, now)
	setBack = p.last.IsZero() || seen.Sub(p.last) < now.Sub(p.lastAt)-10*time.Second
	p.last, p.lastAt = seen, now
	return true, setBack, nil
}

// leave takes the row away: what the process still ran was given back by the shutdown.
func (p *presence) leave(ctx context.Context) error {
	_, err := p.pool.Exec(ctx, "DELETE FROM iu_outbox.worker AS w WHERE w.id = $1 AND w.lock_key = $2", p.id, p.number.Load())
	if err != nil {
		return fmt.Errorf("sign off: %w", err)
	}
	return nil
}

// tellTime sets the clock before anything goes by it.
func (p *presence) tellTime(ctx context.Context) error {
	from := time.Now()
	var server time.Time
	if err := p.pool.QueryRow(ctx, "SELECT pg_catalog.clock_timestamp()").Scan(&server); err != nil {
		return fmt.Errorf("ask the server for the time: %w", err)
	}
	p.clock.set(server, from, time.Now())
	return nil
}
