package subscribe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config configures a subscriber. The zero value of a field means its default.
type Config struct {
	// Pool reads events and moves the cursor. Required. It may go through a transaction pooler. A subscriber holds one
	// connection at a time: during a read, and in RunTx while the handler runs.
	Pool *pgxpool.Pool

	// Direct is where the connections are opened that listen and that keep the consumer's lease, one each. Nil means
	// the pool's address. Where notifications do not come through (a transaction pooler), the subscriber polls.
	Direct *pgx.ConnConfig

	// Consumer is the name of a durable consumer: 1 to 200 printable characters without spaces. Its cursor is kept in
	// the database, and of all processes with the name one is active. Empty: the cursor lives in this Run alone.
	Consumer string

	// From is where to begin. A consumer that exists goes on where it stopped: From is for one that is new, and After is
	// not for consumers at all (ResetConsumer moves one). Default: Now without a name, Beginning with one.
	From Start

	// Filter chooses events. Those that it leaves out count as handled.
	Filter Filter

	// MaxBatch is how many events are read at once, and at most given to a batch handler. Default 100.
	MaxBatch int

	// Limit ends Run after so many events were handled. Default 0: it goes on until ctx ends.
	Limit int

	// PollInterval is how often to look for events if no notification came. Default 1 s.
	PollInterval time.Duration

	// LeaseTTL is how long after the death of a consumer's active process another one takes over; one that
	// stops hands over at once. Renewed five times in it. Default 5 s.
	LeaseTTL time.Duration

	// Retry says what happens where the handler fails.
	Retry Retry

	// OnStart, where it is set, is called when the subscriber begins to read: in Run's own goroutine, with the cursor that
	// it begins at, and again each time it becomes a consumer's active process.
	OnStart func(Cursor)

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Retry says what happens where the handler fails. The zero Retry tries for ever: events are handled in order, and none
// is skipped.
type Retry struct {
	// MaxTries is how often the handler may fail for one event. Default 0: without end. Errors of the database that may
	// pass by themselves do not count. A batch that fails is tried again event by event, and only those tries count.
	MaxTries int

	// OnExhausted says what happens then. Default StopRun.
	OnExhausted OnExhausted

	// Backoff is the wait after the first failure; it doubles with each one that follows, up to MaxBackoff, less up to a
	// half at random. Defaults 500 ms and 1 min.
	Backoff, MaxBackoff time.Duration
}

// OnExhausted is what happens with an event for which the handler failed as often as it may.
type OnExhausted int

const (
	// StopRun makes Run return an ExhaustedError. The cursor stays before the event.
	StopRun OnExhausted = iota
	// DeadLetter puts the event into iu_outbox.consumer_dead_letter and goes on after it, in one transaction. Only for
	// consumers with a name.
	DeadLetter
)

func (r Retry) wait(failures int) time.Duration {
	wait := r.MaxBackoff
	if doublings := max(failures-1, 0); doublings < 30 {
		wait = min(wait, r.Backoff<<doublings)
	}
	return wait - rand.N(wait/2+1) //nolint:gosec // spreads load, guards nothing
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

// processName tells the processes of a consumer apart, for people and for the lease.
func processName() string {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	return fmt.Sprintf("%.60s-%d-%08x", hostname, os.Getpid(), rand.Uint32()) //nolint:gosec // guards nothing
}

// Handler handles one event. If it returns nil, the event counts as handled; after an error it is delivered again. Its
// ctx ends with Run's, and when another process took the consumer over.
type Handler func(ctx context.Context, event Event) error

// BatchHandler handles events together, in the order of their positions: all of them, or none.
type BatchHandler func(ctx context.Context, events []Event) error

// TxHandler handles events in a transaction of Config.Pool (READ COMMITTED, unless its first statement says otherwise).
// What it writes there is committed together with the cursor. It must not end the transaction; savepoints (tx.Begin)
// are its own.
type TxHandler func(ctx context.Context, tx pgx.Tx, events []Event) error
