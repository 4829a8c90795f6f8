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
	// Pool sends the pings that the listener must receive. Required.
	Pool *pgxpool.Pool

	// Direct is the address that the listener connects to. LISTEN must work there. Required.
	Direct *pgx.ConnConfig

	// PingInterval is how often the listener checks that notifications arrive. Default 5 s. Negative: never.
	PingInterval time.Duration

	// Observe is called when the connection begins to listen and when it is lost. Default: nothing is called.
	Observe func(up bool)

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Listener keeps a connection that listens. It rings the bells of a channel for each notification, after each (re)connect, when
// there may be a backlog, and when the connection is lost, since code that waits must poll from then on. It detects a silent
// server by notifications that it sends to itself through the pool. Safe for concurrent use once Run has been called.
type Listener struct {
	cfg     Config
	outage  *retry.Outage
	bells   map[string][]*paced
	channel string // for this listener's pings
	pinged  Bell

	mu   sync.Mutex
	conn *pgx.Conn
	up   atomic.Bool
}

// New returns a listener. It does not connect.
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

// On returns a new bell that rings for all notifications of some channels. Call it before Run.
func (l *Listener) On(channels ...string) Bell {
	b := &paced{bell: NewBell(), wanted: func(string) bool { return true }}
	for _, channel := range channels {
		l.bells[channel] = append(l.bells[channel], b)
	}
	return b.bell
}

// OnPayload returns a new bell that rings for the notifications of a channel whose payload is wanted, and after each
// (re)connect. Any login can send any payload, so it must not be used for anything but the choice of bells. Call OnPayload
// before Run.
func (l *Listener) OnPayload(channel string, wanted func(payload string) bool) Bell {
	b := &paced{bell: NewBell(), wanted: wanted}
	l.bells[channel] = append(l.bells[channel], b)
	return b.bell
}

// Up reports whether the connection is listening.
func (l *Listener) Up() bool { return l.up.Load() }

// Run listens until ctx ends. Call it once.
func (l *Listener) Run(ctx context.Context) error {
	lib := &pgxlisten.Listener{
		Connect:        l.connect,
		LogError:       l.lost,
		ReconnectDelay: -1, // connect waits instead: pgxlisten's delay does not back off
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

// ringer is a pgxlisten handler that only rings bells, because pgxlisten waits for its handlers.
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

// HandleBacklog is called when the server has accepted the LISTEN.
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

// pingLoop sends this listener a notification through the pool at each PingInterval. If it does not arrive, the connection is
// dead although it looks open: pingLoop cuts it, and pgxlisten reconnects.
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

// refused reports whether the server refused to send a ping, which says nothing about the listener's connection.
func refused(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr)
}

// Reconnect makes the listener open a new connection, for a server that another one has replaced may still keep the old one open. It
// does not wait.
func (l *Listener) Reconnect() { l.cut() }

// cut closes the socket under the connection, so that the pending read fails at once.
func (l *Listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.PgConn().Conn().Close() // the connection is dead, so an error does not matter
	}
}
