package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgxlisten"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/retry"
)

const (
	connectTimeout = 10 * time.Second
	pingTimeout    = 3 * time.Second
)

// Config configures a Listener.
type Config struct {
	// Pool sends the listener's pings to itself. Required.
	Pool *pgxpool.Pool

	// Direct is where the listener connects; it must reach a session that LISTEN works in. Required.
	Direct *pgx.ConnConfig

	// PingInterval is how often the listener asks itself whether it still hears. Default 5 s. Negative: never.
	PingInterval time.Duration

	// Observe is called when the connection begins to listen and when it is lost. Default: not.
	Observe func(up bool)

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Listener keeps one connection that listens, and rings the bells of its channels: for each notification, after
// every (re)connect, so that whoever waits reads its backlog, and when the connection is lost, so that whoever waits
// polls from then on. It notices a server that has gone
// silent by pinging itself through the pool. Safe for concurrent use once Run was called.
type Listener struct {
	cfg     Config
	outage  *retry.Outage
	bells   map[string][]*paced
	channel string // of this listener's own pings
	pinged  Bell

	mu   sync.Mutex
	conn *pgx.Conn
	up   atomic.Bool
}

// New makes a listener. It does not connect.
func New(cfg Config) *Listener {
	if cfg.PingInterval == 0 {
		cfg.PingInterval = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Observe == nil {
		cfg.Observe = func(bool) {}
	}
	cfg.Direct = KeepAlive(cfg.Direct)
	return &Listener{
		cfg:     cfg,
		outage:  &retry.Outage{Logger: cfg.Logger, What: "Listener: connection"},
		bells:   make(map[string][]*paced),
		channel: "iu_outbox_ping_" + uuid.NewString(),
		pinged:  NewBell(),
	}
}

// On adds a bell to channels. Call it before Run.
func (l *Listener) On(channels ...string) Bell {
	b := &paced{bell: NewBell(), wanted: func(string) bool { return true }}
	for _, channel := range channels {
		l.bells[channel] = append(l.bells[channel], b)
	}
	return b.bell
}

// OnPayload adds a bell that rings for those notifications of a channel whose payload is wanted, and after every
// (re)connect. Any login may have sent a payload, and it may be anything: it is good for nothing but a choice of bells.
// Call it before Run.
func (l *Listener) OnPayload(channel string, wanted func(payload string) bool) Bell {
	b := &paced{bell: NewBell(), wanted: wanted}
	l.bells[channel] = append(l.bells[channel], b)
	return b.bell
}

// Up reports whether the connection listens now.
func (l *Listener) Up() bool { return l.up.Load() }

// Run listens until ctx ends. It is called once.
func (l *Listener) Run(ctx context.Context) error {
	lib := &pgxlisten.Listener{
		Connect:        l.connect,
		LogError:       l.lost,
		ReconnectDelay: -1, // connect waits: pgxlisten's own delay knows no backoff
	}
	for channel, bells := range l.bells {
		lib.Handle(channel, &ringer{listener: l, bells: bells})
	}
	if l.cfg.PingInterval > 0 {
		lib.Handle(l.channel, &ringer{listener: l, bells: []*paced{{bell: l.pinged, wanted: func(string) bool { return true }}}})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { l.pingLoop(ctx) })
	}
	if err := lib.Listen(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// ringer hands a notification on without doing anything else: pgxlisten blocks on its handlers.
type ringer struct {
	listener *Listener
	bells    []*paced
}

func (r *ringer) HandleNotification(_ context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
	for _, b := range r.bells {
		if b.wanted(n.Payload) {
			b.ring()
		}
	}
	return nil
}

// HandleBacklog is called once the server has accepted the LISTEN.
func (r *ringer) HandleBacklog(ctx context.Context, _ string, _ *pgx.Conn) error {
	r.listener.outage.Worked(ctx)
	if !r.listener.up.Swap(true) {
		r.listener.cfg.Observe(true)
	}
	for _, b := range r.bells {
		b.ring()
	}
	return nil
}

func (l *Listener) connect(ctx context.Context) (*pgx.Conn, error) {
	if tries := l.outage.Tries(); tries > 0 && !retry.Pause(ctx, retry.Reconnect.Wait(tries)) {
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, l.cfg.Direct)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	return conn, nil
}

func (l *Listener) lost(ctx context.Context, err error) {
	if l.up.Swap(false) {
		l.cfg.Observe(false)
		for _, bells := range l.bells {
			for _, b := range bells {
				b.ring()
			}
		}
	}
	if ctx.Err() == nil {
		l.outage.Failed(ctx, err)
	}
}

// pingLoop sends this listener a notification through the pool now and then. One that does not arrive means a
// connection that looks open and is dead: it is cut, and pgxlisten connects anew.
func (l *Listener) pingLoop(ctx context.Context) {
	for retry.Pause(ctx, l.cfg.PingInterval) {
		if !l.up.Load() {
			continue
		}
		if err := l.ping(ctx); err != nil && ctx.Err() == nil && (!refused(err) || dbsession.ReadOnlyError(err)) {
			l.cut()
		}
	}
}

func (l *Listener) ping(ctx context.Context) error {
	select {
	case <-l.pinged: // the ring of a (re)connect, or a late one
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if _, err := l.cfg.Pool.Exec(ctx, "SELECT pg_catalog.pg_notify($1, '')", l.channel); err != nil {
		return fmt.Errorf("send a ping: %w", err)
	}
	select {
	case <-l.pinged:
		return nil
	case <-ctx.Done():
		return errors.New("the ping did not arrive")
	}
}

// refused reports whether the server replied but refused to send a ping, which says nothing about the listener.
func refused(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr)
}

// cut closes the socket under the connection: the read that waits on it fails at once.
func (l *Listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.PgConn().Conn().Close() // it is dead: there is nobody to tell
	}
}
