package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/dbsession"
)

// ProbeTimeout is how long Works waits for its notification.
const ProbeTimeout = 3 * time.Second

const dialTimeout = 5 * time.Second

// KeepAlive returns a prepared copy of cfg whose connections make the operating system notice a dead peer within about
// 15 s, and a dial without a reply within 5 s. The dial itself stays cfg's own.
func KeepAlive(cfg *pgx.ConnConfig) *pgx.ConnConfig {
	cfg = dbsession.Prepared(cfg)
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
				Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3,
			})
			if err != nil {
				_ = conn.Close() // the error that matters is err
				return nil, fmt.Errorf("set keepalive: %w", err)
			}
		}
		return conn, nil
	}
	return cfg
}

// Works reports whether an address gives a session of its own: whether a notification that was sent through
// the pool reaches a connection that listens there. Through a transaction pooler it does not, and advisory locks
// would stay behind in somebody else's session. An error means that the question could not be asked.
func Works(ctx context.Context, pool *pgxpool.Pool, direct *pgx.ConnConfig) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, KeepAlive(direct))
	if err != nil {
		return false, fmt.Errorf("connect to listen: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = conn.Exec(ctx, "UNLISTEN *") // the probe is over either way, and a pooler may keep the session
		_ = conn.Close(ctx)
	}()

	if dbsession.Multiplexed(conn.PgConn()) {
		return false, nil // a LISTEN would stay behind
	}
	channel := fmt.Sprintf("iu_outbox_probe_%d", time.Now().UnixNano())
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return false, fmt.Errorf("listen for the probe: %w", err)
	}
	if _, err := pool.Exec(ctx, "SELECT pg_catalog.pg_notify($1, '')", channel); err != nil {
		return false, fmt.Errorf("notify the probe: %w", err)
	}
	waitCtx, cancelWait := context.WithTimeout(ctx, ProbeTimeout)
	defer cancelWait()
	_, err = conn.WaitForNotification(waitCtx)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(waitCtx.Err(), context.DeadlineExceeded) && ctx.Err() == nil:
		return false, nil
	default:
		return false, fmt.Errorf("wait for the probe: %w", err)
	}
}
