package webui

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/replica"
)

// readLimit bounds each statement of a page.
var readLimit = 5 * time.Second

// limited runs transactions whose statements end after readLimit, where the pages read.
type limited struct {
	primary *pgxpool.Pool
	replica *replica.Reader
	live    bool // on the primary, unless it is away: a standby does not know who is alive now, nor who waits for whom
}

type onPrimaryKey struct{}

// onPrimary returns a context in which all reads are on the primary: those of a change, and of the page that asks for it.
func onPrimary(ctx context.Context) context.Context {
	return context.WithValue(ctx, onPrimaryKey{}, true)
}

func (l limited) pool(ctx context.Context) *pgxpool.Pool {
	if ctx.Value(onPrimaryKey{}) != nil || l.live && l.replica.State().Primary == nil {
		return l.primary
	}
	return l.replica.Pool()
}

// BeginTx implements operate.Beginner.
func (l limited) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	pool := l.pool(ctx)
	tx, err := pool.BeginTx(ctx, options)
	if err != nil {
		if pool != l.primary {
			l.replica.Failed()
		}
		return nil, err
	}
	_, err = tx.Exec(ctx, "SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', $1, true)",
		strconv.FormatInt(readLimit.Milliseconds(), 10))
	if err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // the first error says more
		return nil, err
	}
	return tx, nil
}

// read reads in one transaction, in one snapshot.
func (l limited) read(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, l, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, do)
}

// snapshot reads one value in one transaction.
func snapshot[T any](ctx context.Context, db limited, do func(context.Context, pgx.Tx) (T, error)) (value T, err error) {
	err = db.read(ctx, func(tx pgx.Tx) (err error) {
		value, err = do(ctx, tx)
		return err
	})
	return value, err
}

// addRead adds a section that is read in one transaction; see add.
func addRead[T any](v *view, db limited, id, heading string, do func(context.Context, pgx.Tx) (T, error)) {
	add(v, id, heading, func(ctx context.Context) reading[T] { return fresh(snapshot(ctx, db, do)) })
}

// source reads one value in one transaction and keeps it.
func source[T any](db limited, keep time.Duration, do func(context.Context, pgx.Tx) (T, error)) cached[T] {
	return cached[T]{keep: keep, read: func(ctx context.Context) (T, error) { return snapshot(ctx, db, do) }}
}

// cached keeps a value for all pages for at least twenty times as long as it took to read. So the pages use at most a twentieth
// of one core of the database, however many are open. If the value cannot be read, the last one stays.
type cached[T any] struct {
	read func(context.Context) (T, error)
	keep time.Duration

	mu   sync.Mutex // requests that arrive while it is read wait for the same value
	at   time.Time
	took time.Duration
	due  atomic.Bool // it must be read again, whatever its age

	lastMu sync.Mutex
	last   reading[T]
}

func (c *cached[T]) get(ctx context.Context) reading[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.due.Swap(false) && !c.at.IsZero() && time.Since(c.at) < max(c.keep, 20*c.took) {
		return c.peek()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*readLimit)
	defer cancel()
	start := time.Now()
	value, err := c.read(ctx)
	c.at, c.took = time.Now(), time.Since(start)
	c.lastMu.Lock()
	defer c.lastMu.Unlock()
	if err != nil {
		c.took = min(c.took, c.keep/20) // it may have waited for a database that was away, so it is retried soon
		if c.last.Err == nil {
			c.last.Since = start
		}
		c.last.Err = err
	} else {
		c.last = reading[T]{Value: value, At: c.at}
	}
	return c.last
}

// soon is get, but returns the last reading, which may be empty, if the value is not read within patience. Reading goes on in the
// background.
func (c *cached[T]) soon(ctx context.Context, patience time.Duration) reading[T] {
	read := make(chan reading[T], 1)
	go func() { read <- c.get(ctx) }()
	select {
	case got := <-read:
		return got
	case <-time.After(patience):
		return c.peek()
	}
}

// again reads the value again if it is older than least, even if it would have been kept longer.
func (c *cached[T]) again(ctx context.Context, least time.Duration) {
	c.mu.Lock()
	if time.Since(c.at) >= max(least, 2*c.took) {
		c.at = time.Time{}
	}
	c.mu.Unlock()
	c.get(ctx)
}

// expire makes the next get read the value again.
func (c *cached[T]) expire() { c.due.Store(true) }

// peek returns the last reading and never reads.
func (c *cached[T]) peek() reading[T] {
	c.lastMu.Lock()
	defer c.lastMu.Unlock()
	return c.last
}

// both joins two readings. The result is as old as the older one, and failed if either failed.
func both[A, B, C any](a reading[A], b reading[B], join func(A, B) C) reading[C] {
	joined := reading[C]{At: a.At, Err: cmp.Or(a.Err, b.Err)}
	if b.At.Before(joined.At) {
		joined.At = b.At
	}
	if !joined.At.IsZero() {
		joined.Value = join(a.Value, b.Value)
	}
	return joined
}

// derived converts a reading, and keeps its age and its error.
func derived[T, U any](of reading[T], convert func(T) U) reading[U] {
	return both(of, of, func(value, _ T) U { return convert(value) })
}
