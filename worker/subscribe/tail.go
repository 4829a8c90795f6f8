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
	// Pool reads events. The tail uses one connection while it reads, and followers that are behind use up to Replays.
	// Required. It may go through a transaction pooler.
	Pool *pgxpool.Pool

	// Read and MaxLag are as in Config: a hot standby to read from.
	Read   *pgxpool.Pool
	MaxLag time.Duration

	// Direct is the address of a connection that listens. Default: the pool's address. If notifications do not come through
	// it (a transaction pooler), the tail polls.
	Direct *pgx.ConnConfig

	// PollInterval is how long the tail waits for a notification before it polls. Default 1 s.
	PollInterval time.Duration

	// Keep and KeepBytes limit the events, and the bytes of their JSON, that stay in memory for followers that are a little
	// behind. Followers read older events from the database. Defaults 4096 and 16 MiB.
	Keep, KeepBytes int

	// Replays is how many followers may read from the database at once; others wait. Default 4.
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

// Tail reads new events once for all its followers: a thousand that wait cost the database as much as one. It reads while it
// has followers, and for TailConfig.Linger afterwards. Safe for concurrent use.
type Tail struct {
	cfg     TailConfig
	source  *source
	logger  *slog.Logger
	life    context.Context //nolint:containedctx // the lifetime of the tail, not of a call
	end     context.CancelFunc
	running sync.WaitGroup
	replays chan struct{}
	asked   listen.Bell // rings if a caller waits for a new read

	mu        sync.Mutex
	stopped   bool
	reading   bool
	followers int
	idle      time.Time // since when there have been no followers
	recent    ring
	history   int           // incremented when the history that was read is no longer valid
	news      chan struct{} // closed and replaced when recent or history changes
	reads     reads
}

// NewTail returns a tail, which connects when it gets its first follower. Stop it when done.
func NewTail(cfg TailConfig) (*Tail, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	return &Tail{
		cfg: cfg, source: newSource(cfg.Pool, cfg.Read, cfg.MaxLag, "Tail", cfg.Logger), logger: cfg.Logger, life: life, end: end,
		replays: make(chan struct{}, cfg.Replays), asked: listen.NewBell(),
		recent: ring{most: cfg.Keep, mostBytes: cfg.KeepBytes},
		news:   make(chan struct{}),
		reads:  reads{done: make(chan struct{})},
	}, nil
}

// Stop ends the tail and waits until it has ended. Its followers get ErrTailStopped. It may be called more than once.
func (t *Tail) Stop() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.end()
	t.running.Wait()
}

// Followers returns the number of followers.
func (t *Tail) Followers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.followers
}

// Follow returns a follower that begins at start; the zero Start is Now. The error is a RewoundError or a PrunedError if the
// history does not contain a cursor, and a BeyondEndError if a bare position is after its end. ctx bounds only this call. Close
// the follower when done.
//
// Followers that start at the end of the history at the same time share one read of the database. Others read what they have
// missed, at most Replays of them at once.
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

// join adds a follower, and starts the tail if it is not running.
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

// wanted reports whether the tail should continue to read. After false, the next follower starts the tail again.
func (t *Tail) wanted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.followers == 0 && time.Since(t.idle) >= t.cfg.Linger {
		t.reading = false
	}
	return t.reading
}
