package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgxlisten"
)

// The channels of the doorbells.
const (
	ChannelEvent    = "iu_outbox_event"
	ChannelEmission = "iu_outbox_emission"
	ChannelGate     = "iu_outbox_gate"
)

const (
	pingInterval = 5 * time.Second
	pingTimeout  = 3 * time.Second
)

// Listener keeps one connection that listens, and rings the bells of its channels: for each notification, and
// after every (re)connect, so that whoever waits reads its backlog. It notices a server that has gone
// silent by pinging itself through the pool. Safe for concurrent use once Run was called.
type Listener struct {
	pool    *pgxpool.Pool
	direct  *pgx.ConnConfig
	outage  *outage
	bells   map[string][]bell
	pinged  bell
	channel string // of this listener's own pings

	mu   sync.Mutex
	conn *pgx.Conn
	up   atomic.Bool
}

// NewListener makes a listener; direct must reach a session that LISTEN works in.
func NewListener(pool *pgxpool.Pool, direct *pgx.ConnConfig, logger *slog.Logger, id string) *Listener {
	return &Listener{
		pool: pool, direct: withKeepAlive(direct),
		outage:  &outage{logger: logger, what: "Listener: connection"},
		bells:   make(map[string][]bell),
		pinged:  newBell(),
		channel: "iu_outbox_ping_" + shortHash(id),
	}
}

// on adds a bell to a channel. Call it before Run.
func (l *Listener) on(channel string) bell {
	b := newBell()
	l.bells[channel] = append(l.bells[channel], b)
	return b
}

// Up reports whether the connection listens now.
func (l *Listener) Up() bool { return l.up.Load() }

// Run listens until ctx ends.
func (l *Listener) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { l.pingLoop(ctx) })
	defer wg.Wait()

	lib := &pgxlisten.Listener{
		Connect:        l.connect,
		LogError:       func(ctx context.Context, err error) { l.lost(ctx, err) },
		ReconnectDelay: -1, // connect waits: pgxlisten's own delay knows no backoff
	}
	for channel, bells := range l.bells {
		lib.Handle(channel, ringer{bells})
	}
	lib.Handle(l.channel, ringer{[]bell{l.pinged}})
	if err := lib.Listen(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// ringer hands a notification on without doing anything else: pgxlisten blocks on its handlers.
type ringer struct{ bells []bell }

func (r ringer) HandleNotification(context.Context, *pgconn.Notification, *pgx.Conn) error {
	for _, b := range r.bells {
		b.ring()
	}
	return nil
}

func (r ringer) HandleBacklog(context.Context, string, *pgx.Conn) error {
	for _, b := range r.bells {
		b.ring()
	}
	return nil
}

func (l *Listener) connect(ctx context.Context) (*pgx.Conn, error) {
	l.up.Store(false)
	if tries := l.tries(); tries > 0 && !pause(ctx, backoff(tries)) {
		return nil, ctx.Err()
	}
	conn, err := pgx.ConnectConfig(ctx, l.direct)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	l.outage.worked(ctx)
	l.up.Store(true)
	return conn, nil
}

func (l *Listener) tries() int {
	l.outage.mu.Lock()
	defer l.outage.mu.Unlock()
	return l.outage.tries
}

func (l *Listener) lost(ctx context.Context, err error) {
	l.up.Store(false)
	if ctx.Err() == nil {
		l.outage.failed(ctx, err)
	}
}

// pingLoop sends this listener a notification through the pool now and then. One that does not arrive means a
// connection that looks open and is dead: it is cut, and pgxlisten connects anew.
func (l *Listener) pingLoop(ctx context.Context) {
	for pause(ctx, pingInterval) {
		if !l.up.Load() {
			continue
		}
		if err := l.ping(ctx); err != nil && ctx.Err() == nil {
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
	if _, err := l.pool.Exec(ctx, "SELECT pg_catalog.pg_notify($1, '')", l.channel); err != nil {
		return fmt.Errorf("send a ping: %w", err)
	}
	select {
	case <-l.pinged:
		return nil
	case <-ctx.Done():
		return errors.New("the ping did not arrive")
	}
}

// cut closes the socket under the connection: the read that waits on it fails at once.
func (l *Listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.PgConn().Conn().Close() // it is dead: there is nobody to tell
	}
}

// withKeepAlive makes the operating system notice a dead peer within about 15 s, and a dial within 5 s.
func withKeepAlive(cfg *pgx.ConnConfig) *pgx.ConnConfig {
	cfg = cfg.Copy()
	dialer := &net.Dialer{
		Timeout:         5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3},
	}
	cfg.DialFunc = dialer.DialContext
	return cfg
}
