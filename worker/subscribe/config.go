package subscribe

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
)

// Config configures a subscriber. The zero value of a field means its default.
type Config struct {
	// Pool reads events and moves the cursor. Required. It may go through a transaction pooler. A subscriber holds one
	// connection at a time: during a read, and in RunTx while the handler runs. It may be the pool of a hot standby if there is
	// no consumer: such a subscriber polls.
	Pool *pgxpool.Pool

	// Read is the pool of a hot standby of Pool's server, which events are read from instead. Pool keeps the consumers' cursors.
	// While the standby cannot be read, or is more than MaxLag behind, events are read from Pool. Default: none.
	Read *pgxpool.Pool

	// MaxLag is how far behind the standby may be. Default 30 s. -1: as far as it likes.
	MaxLag time.Duration

	// Direct is the address of two more connections: one listens, the other keeps the consumer's lease. Default: the
	// pool's address. If notifications do not come through it (a transaction pooler), the subscriber polls.
	Direct *pgx.ConnConfig

	// Consumer is the name of a durable consumer: 1 to 200 printable characters without spaces. Its cursor is kept in
	// the database, and one process of that name is active at a time. Default: none; the cursor ends with Run.
	Consumer string

	// From is where to begin. A consumer that exists ignores it and continues after its cursor. A consumer cannot begin at
	// After: ResetConsumer moves one. Default: Now without a name, Beginning with one.
	From Start

	// Filter selects events. The others count as handled.
	Filter Filter

	// MaxBatch is the maximum number of events that are read at once and passed to a batch handler. Default 100.
	MaxBatch int

	// Limit is how many events Run handles before it returns. Default 0: no limit.
	Limit int

	// PollInterval is how long the subscriber waits for a notification before it polls. Default 1 s.
	PollInterval time.Duration

	// LeaseTTL is how long a consumer's lease lasts. If the active process dies, another one takes over after that time;
	// if it stops, another one takes over at once. The lease is renewed five times per LeaseTTL. Default 5 s.
	LeaseTTL time.Duration

	// Retry says what happens if the handler fails.
	Retry Retry

	// Resume, if it is set, says where to continue, whatever the consumer's row says: for a handler whose effects are kept elsewhere,
	// in order, where their end can be read (package publish). It is called when this process becomes the active one, after
	// each error of the handler, and if something else moved the row, and the consumer moves to the start that it returns. It may
	// wait. Its error ends Run, unless the error is a transient one of the database. Only for RunBatch with a name.
	Resume func(ctx context.Context, r Resumption) (Start, error)

	// Doubt, if it is set, is called before each read, at least once a PollInterval. If it returns true, Resume is called again.
	Doubt func() bool

	// OnStart is called in Run's goroutine with the cursor after which the subscriber begins to read, and again each time
	// this process becomes the consumer's active one. Default: nothing is called.
	OnStart func(Cursor)

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Retry says what happens if the handler fails. The zero Retry retries forever: events are handled in order, and none is
// skipped.
type Retry struct {
	// MaxTries is how often the handler may fail for one event. Default 0: no limit. Transient errors of the
	// database do not count. If a batch fails, its events are retried one by one, and only these tries count.
	MaxTries int

	// OnExhausted says what happens after MaxTries failures. Default StopRun.
	OnExhausted OnExhausted

	// Backoff is the wait after the first failure. It doubles with each further failure, up to MaxBackoff, and jitter
	// shortens it by up to half. Defaults 500 ms and 1 min.
	Backoff, MaxBackoff time.Duration
}

// OnExhausted says what happens to an event after the handler has failed for it Retry.MaxTries times.
type OnExhausted int

const (
	// StopRun makes Run return an ExhaustedError. The cursor stays before the event.
	StopRun OnExhausted = iota
	// DeadLetter puts the event into iu_outbox.consumer_dead_letter and continues after it, in one transaction. It
	// requires Config.Consumer.
	DeadLetter
)

// wait returns how long to wait after that many failures in a row.
func (r Retry) wait(failures int) time.Duration {
	return retry.Backoff{First: r.Backoff, Longest: r.MaxBackoff}.Wait(failures)
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Pool == nil:
		return c, errors.New("subscribe: Config.Pool is required")
	case c.Consumer != "" && c.From.kind == startAfter:
		return c, errors.New("subscribe: a consumer continues where it stopped, so After is not for consumers: use ResetConsumer")
	case c.Consumer == "" && (c.Retry.OnExhausted == DeadLetter || c.Resume != nil):
		return c, errors.New("subscribe: dead letters and Resume need Config.Consumer")
	case c.MaxBatch < 0 || c.Limit < 0 || c.Retry.MaxTries < 0:
		return c, errors.New("subscribe: MaxBatch, Limit and MaxTries must not be negative")
	case c.PollInterval < 0 || c.LeaseTTL < 0 || c.Retry.Backoff < 0 || c.Retry.MaxBackoff < 0:
		return c, errors.New("subscribe: PollInterval, LeaseTTL, Backoff and MaxBackoff must not be negative")
	}
	if c.Direct == nil {
		c.Direct = c.Pool.Config().ConnConfig.Copy()
	}
	c.MaxBatch = cmp.Or(c.MaxBatch, 100)
	c.PollInterval = cmp.Or(c.PollInterval, time.Second)
	c.LeaseTTL = cmp.Or(c.LeaseTTL, 5*time.Second)
	c.Retry.Backoff = cmp.Or(c.Retry.Backoff, 500*time.Millisecond)
	c.Retry.MaxBackoff = cmp.Or(c.Retry.MaxBackoff, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Consumer != "" {
		c.Logger = c.Logger.With(slog.String("consumer", c.Consumer))
	}
	if c.OnStart == nil {
		c.OnStart = func(Cursor) {}
	}
	return c, nil
}

// Handler handles one event. If it returns nil, the event counts as handled; if it returns an error, the event is delivered
// again. Its ctx ends if Run's ctx ends or another process takes over the consumer.
type Handler func(ctx context.Context, event Event) error

// BatchHandler is a Handler for several events, in the order of their positions. All of them count as handled, or none.
type BatchHandler func(ctx context.Context, events []Event) error

// TxHandler handles events in a transaction of Config.Pool (READ COMMITTED, unless its first statement says otherwise).
// What it writes there is committed together with the cursor. It must not end the transaction; it may use savepoints
// (tx.Begin).
type TxHandler func(ctx context.Context, tx pgx.Tx, events []Event) error
