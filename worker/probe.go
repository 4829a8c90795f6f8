package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ProbeTimeout is how long ListenWorks waits for its notification.
const ProbeTimeout = 3 * time.Second

// ListenWorks reports whether an address gives a session of its own: whether a notification that was sent through
// the pool reaches a connection that listens there. Through a transaction pooler it does not, and advisory locks
// would stay behind in somebody else's session. An error means that the question could not be asked.
func ListenWorks(ctx context.Context, pool *pgxpool.Pool, direct *pgx.ConnConfig) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, withKeepAlive(direct))
	if err != nil {
		return false, fmt.Errorf("connect to listen: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the probe is over either way

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
