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

const probeAround = 7 * time.Second // for connecting, and the statements

const dialTimeout = 5 * time.Second

// KeepAlive returns a copy of cfg, prepared by dbsession, whose dials time out after 5 s and whose TCP keepalive detects a dead
// peer within about 15 s. The copy dials with cfg.DialFunc.
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

// Works reports whether a notification sent through the pool reaches a connection that listens at the direct address. Through
// a transaction pooler it does not, and advisory locks would stay in a session of other clients. An error means that Works
// could not find out.
func Works(ctx context.Context, pool *pgxpool.Pool, direct *pgx.ConnConfig) (bool, error) {
	return WorksWithin(ctx, ProbeTimeout, pool, direct)
}

// WorksWithin is Works, but waits for its notification for patience.
func WorksWithin(ctx context.Context, patience time.Duration, pool *pgxpool.Pool, direct *pgx.ConnConfig) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+probeAround)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, KeepAlive(direct))
	if err != nil {
		return false, fmt.Errorf("connect to listen: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = conn.Exec(ctx, "UNLISTEN *") // a pooler may keep the session; an error does not matter
		_ = conn.Close(ctx)
	}()

	if dbsession.Multiplexed(conn.PgConn()) {
		return false, nil // the LISTEN would stay in the pooler's session
	}
	channel := fmt.Sprintf("iu_outbox_probe_%d", time.Now().UnixNano())
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return false, fmt.Errorf("listen for the probe: %w", err)
	}
	if _, err := pool.Exec(ctx, "SELECT pg_catalog.pg_notify($1, '')", channel); err != nil {
		return false, fmt.Errorf("notify the probe: %w", err)
	}
	waitCtx, cancelWait := context.WithTimeout(ctx, patience)
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
