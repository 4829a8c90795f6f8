package subscribe

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/listen"
)

// TailConfig configures a Tail. The zero value of a field means its default.
type TailConfig struct {
	// Pool reads events: one connection while the tail reads, and Replays for followers that are behind. Required. It may
	// go through a transaction pooler.
	Pool *pgxpool.Pool

	// Direct is where the connection is opened that listens. Nil means the pool's address. If notifications do not
	// come through (a transaction pooler), the tail polls.
	Direct *pgx.ConnConfig

	// PollInterval is how often to look for events if no notification came. Default 1 s.
	PollInterval time.Duration

	// Keep and KeepBytes are how many events, and how many bytes of their JSON, are kept in memory for followers that are
	// a little behind; they read older events from the database. Defaults 4096 and 16 MiB.
	Keep, KeepBytes int

	// Replays is how many followers read from the database at once; others wait. Default 4.
	Replays int

	// Linger is how long the tail continues to read after its last follower has left. Default 1 min.
	Linger time.Duration

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

func (c TailConfig) withDefaults() (TailConfig, error) {
	switch {
	case c.Pool == nil:
		return c, errors.New("subscribe: TailConfig.Pool is required")
	case c.PollInterval < 0 || c.Keep < 0 || c.KeepBytes < 0 || c.Replays < 0 || c.Linger < 0:
		return c, errors.New("subscribe: the fields of TailConfig must not be negative")
	}
	if c.Direct == nil {
		c.Direct = c.Pool.Config().ConnConfig.Copy()
	}
	c.PollInterval = cmp.Or(c.PollInterval, time.Second)
	c.Keep = cmp.Or(c.Keep, 4096)
	c.KeepBytes = cmp.Or(c.KeepBytes, 16<<20)
	c.Replays = cmp.Or(c.Replays, 4)
	c.Linger = cmp.Or(c.Linger, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// ErrTailStopped is returned to the followers of a tail that was stopped.
var ErrTailStopped = errors.New("the tail was stopped")

// Tail reads new events once, for any number of followers in this process: a thousand that wait cost the database what
// one does. It reads while it has followers, and costs nothing without them. Safe for concurrent use.
type Tail struct {
	cfg     TailConfig
	logger  *slog.Logger
	life    context.Context //nolint:containedctx // the lifetime of the tail, not of a call
	end     context.CancelFunc
	running sync.WaitGroup
	replays chan struct{}
	asked   listen.Bell // a caller wants a read that begins now

	mu        sync.Mutex
	stopped   bool
	reading   bool
	followers int
	idle      time.Time // since when there are none
	recent    ring
	history   int           // changes when the history is no longer the one that was read
	news      chan struct{} // closed, and made again, when recent or history changes
	reads     reads
}

// NewTail returns a tail, which connects when it gets its first follower. Stop ends it.
func NewTail(cfg TailConfig) (*Tail, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	return &Tail{
		cfg: cfg, logger: cfg.Logger, life: life, end: end,
		replays: make(chan struct{}, cfg.Replays), asked: listen.NewBell(),
		recent: ring{most: cfg.Keep, mostBytes: cfg.KeepBytes},
		news:   make(chan struct{}),
		reads:  reads{done: make(chan struct{})},
	}, nil
}

// Stop ends the tail: its followers get ErrTailStopped. Safe to call twice.
func (t *Tail) Stop() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.end()
	t.running.Wait()
}

// Followers returns how many follow now.
func (t *Tail) Followers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.followers
}

// Follow begins to follow at a place in the history; the zero Start is Now. A cursor that the history does not hold is a
// RewoundError or a PrunedError, a bare position that it does not reach a BeyondEndError. ctx bounds the call alone.
// Close the follower at the end.
//
// Followers that start at the same time, now or at the cursor of the last event, share one read of the database. Others
// read what they have missed, Replays of them at once.
func (t *Tail) Follow(ctx context.Context, start Start, filter Filter) (*Follower, error) {
	if err := t.join(); err != nil {
		return nil, err
	}
	f := &Follower{tail: t, filter: filter, templates: filter.templates()}
	if err := f.begin(ctx, start); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// join counts a follower, and wakes the tail for the first one.
func (t *Tail) join() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return ErrTailStopped
	}
	t.followers++
	if !t.reading {
		t.reading = true
		t.running.Go(t.run)
	}
	return nil
}

func (t *Tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.followers--
	if t.followers == 0 {
		t.idle = time.Now()
	}
}

// wanted reports whether to continue reading. If it returns false, the next follower starts the tail again.
func (t *Tail) wanted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.followers == 0 && time.Since(t.idle) >= t.cfg.Linger {
		t.reading = false
	}
	return t.reading
}
