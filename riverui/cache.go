package webui

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// readLimit bounds a statement of a page; whoever asks more of the database uses psql.
const readLimit = 5 * time.Second

// limited runs transactions on a pool whose statements end after readLimit.
type limited struct{ pool *pgxpool.Pool }

// BeginTx implements operate.Beginner.
func (l limited) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	tx, err := l.pool.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, "SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', $1, true)",
		readLimit.String())
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

// readOne reads one value in one transaction, for a section of a view.
func readOne[T any](ctx context.Context, db limited, do func(context.Context, pgx.Tx) (T, error)) reading[T] {
	var value T
	err := db.read(ctx, func(tx pgx.Tx) (err error) {
		value, err = do(ctx, tx)
		return err
	})
	return fresh(value, err)
}

// cached keeps a value for all pages: for a while, and for twenty times as long as it took to read, so that pages cost
// the database a twentieth of one core at most, however many are open. If it cannot be read, the last value stays.
type cached[T any] struct {
	read func(context.Context) (T, error)
	keep time.Duration

	mu   sync.Mutex // requests that come while it is read wait for the same value
	at   time.Time
	took time.Duration
	due  atomic.Bool // a change was made since it was read

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
		c.took = min(c.took, c.keep/20) // what failed is read again soon: it may have waited for a database that was away
		c.last.Err = err
	} else {
		c.last = reading[T]{Value: value, At: c.at}
	}
	return c.last
}

// soon returns what was read last without waiting for it to be read again, which it starts if that is due. The first time it
// waits a moment; if nothing is read by then, the reading is empty, without an error.
func (c *cached[T]) soon(ctx context.Context, patience time.Duration) reading[T] {
	last := c.peek()
	read := make(chan reading[T], 1)
	go func() { read <- c.get(ctx) }()
	if !last.At.IsZero() {
		return last
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case got := <-read:
		return got
	case <-timer.C:
		return last
	}
}

// again reads the value again if it is older than least, however long it would have been kept.
func (c *cached[T]) again(ctx context.Context, least time.Duration) {
	c.mu.Lock()
	if time.Since(c.at) >= max(least, 2*c.took) {
		c.at = time.Time{}
	}
	c.mu.Unlock()
	c.get(ctx)
}

// expire makes the next get read the value: a change may have made it wrong.
func (c *cached[T]) expire() { c.due.Store(true) }

// peek returns what was read last, without reading.
func (c *cached[T]) peek() reading[T] {
	c.lastMu.Lock()
	defer c.lastMu.Unlock()
	return c.last
}
