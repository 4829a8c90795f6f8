package webui

import (
	"context"
	"sync"
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

// cached keeps an answer for all who ask: for a while, and for twenty times as long as it took, so that pages cost
// the database a twentieth of one core at most, however many look at them.
type cached[T any] struct {
	read func(context.Context) (T, error)
	keep time.Duration

	mu    sync.Mutex // those who come while it is read wait for the same answer
	at    time.Time
	took  time.Duration
	value T
	err   error
}

func (c *cached[T]) get(ctx context.Context) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < max(c.keep, 20*c.took) {
		return c.value, c.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*readLimit)
	defer cancel()
	start := time.Now()
	c.value, c.err = c.read(ctx)
	c.at, c.took = time.Now(), time.Since(start)
	return c.value, c.err
}
