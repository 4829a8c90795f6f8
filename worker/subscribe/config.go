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
	// connection at a time: during a read, and in RunTx while the handler runs.
	Pool *pgxpool.Pool

	// Direct is where the connections are opened that listen and that keep the consumer's lease, one each. Nil means
	// the pool's address. If notifications do not come through (a transaction pooler), the subscriber polls.
	Direct *pgx.ConnConfig

	// Consumer is the name of a durable consumer: 1 to 200 printable characters without spaces. Its cursor is kept in
	// the database, and of all processes with the name one is active. Empty: the cursor lives in this Run alone.
	Consumer string

	// From is the place to begin at. It applies to a new consumer; an existing one continues after its cursor. After is not
	// for consumers (ResetConsumer moves one). Default: Now without a name, Beginning with one.
	From Start

	// Filter selects events. The others count as handled.
	Filter Filter

	// MaxBatch is the most events that are read at once and passed to a batch handler. Default 100.
	MaxBatch int

	// Limit ends Run after that many events were handled. Default 0: no limit.
	Limit int

	// PollInterval is how often to look for events if no notification came. Default 1 s.
	PollInterval time.Duration

	// LeaseTTL is how long after the death of a consumer's active process another one takes over; a process that
	// stops hands over at once. The lease is renewed five times in LeaseTTL. Default 5 s.
	LeaseTTL time.Duration

	// Retry says what happens if the handler fails.
	Retry Retry

	// OnStart, if it is set, is called in Run's goroutine with the cursor at which the subscriber begins to read, and
	// again each time it becomes a consumer's active process.
	OnStart func(Cursor)

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Retry says what happens if the handler fails. The zero Retry retries without end: events are handled in order, and none
// is skipped.
type Retry struct {
	// MaxTries is how often the handler may fail for one event. Default 0: no limit. Transient errors of the database do
	// not count. A batch that fails is retried event by event, and only those tries count.
	MaxTries int

	// OnExhausted says what happens then. Default StopRun.
	OnExhausted OnExhausted

	// Backoff is the wait after the first failure. It doubles with each further failure up to MaxBackoff; up to half of
	// it is taken off at random. Defaults 500 ms and 1 min.
	Backoff, MaxBackoff time.Duration
}

// OnExhausted says what happens to an event for which the handler failed Retry.MaxTries times.
type OnExhausted int

const (
	// StopRun makes Run return an ExhaustedError. The cursor stays before the event.
	StopRun OnExhausted = iota
	// DeadLetter puts the event into iu_outbox.consumer_dead_letter and continues after it, in one transaction. Only for
	// consumers with a name.
	DeadLetter
)

// wait returns how long to wait after so many failures.
func (r Retry) wait(failures int) time.Duration {
	return retry.Backoff{First: r.Backoff, Longest: r.MaxBackoff}.Wait(failures)
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Pool == nil:
		return c, errors.New("subscribe: Config.Pool is required")
	case c.Consumer != "" && c.From.kind == startAfter:
		return c, errors.New("subscribe: a consumer continues where it stopped, so After is not for consumers: use ResetConsumer")
	case c.Consumer == "" && c.Retry.OnExhausted == DeadLetter:
		return c, errors.New("subscribe: dead letters need Config.Consumer")
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

// Handler handles one event. If it returns nil, the event counts as handled; after an error it is delivered again. Its
// ctx ends with Run's, and if another process takes over the consumer.
type Handler func(ctx context.Context, event Event) error

// BatchHandler handles events together, in the order of their positions: all of them, or none.
type BatchHandler func(ctx context.Context, events []Event) error

// TxHandler handles events in a transaction of Config.Pool (READ COMMITTED, unless its first statement says otherwise).
// What it writes there is committed together with the cursor. It must not end the transaction; it may use savepoints
// (tx.Begin).
type TxHandler func(ctx context.Context, tx pgx.Tx, events []Event) error
