package dbsession

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	poolerRounds  = 5
	poolerTimeout = 2 * time.Second

	askProcess = "SELECT pg_catalog.pg_backend_pid()"
)

// pooler finds out once what the pooler of an address does. Safe for concurrent use.
type pooler struct {
	mu    sync.Mutex
	known *bool
}

// sessions reports whether conn has a server process of its own. It checks with a second connection whether the process stays
// the same while that one works: a transaction pooler gives the process that was used last to the next client.
func (p *pooler) sessions(ctx context.Context, cfg *pgconn.Config, conn *pgconn.PgConn) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return *p.known, nil
	}
	own, err := ask(ctx, conn, askProcess)
	if err != nil {
		return false, err
	}
	second, others, err := another(ctx, cfg)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		// A transaction pooler that has a process for the first connection now would have had it for the second one before.
		still, err := ask(ctx, conn, askProcess)
		return still == own, err
	case err != nil:
		return false, nil // unknown: assume that the process is not ours
	}
	defer closeQuietly(second)
	sessions := own != others
	for round := 0; sessions && round < poolerRounds; round++ {
		during, duringErr := ask(ctx, second, "BEGIN; "+askProcess)
		still, stillErr := ask(ctx, conn, askProcess)
		after, afterErr := ask(ctx, second, askProcess+"; COMMIT")
		if err := errors.Join(duringErr, stillErr, afterErr); err != nil {
			return false, err
		}
		sessions = during == others && after == others && still == own
	}
	p.known = &sessions
	return sessions, nil
}

// another opens a second connection, and returns it and its server process.
func another(ctx context.Context, cfg *pgconn.Config) (*pgconn.PgConn, uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, poolerTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, 0, err
	}
	pid, err := ask(ctx, conn, askProcess)
	if err != nil {
		closeQuietly(conn)
	}
	return conn, pid, err
}

func closeQuietly(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // it only asked
}

// ask returns the first value of a query, the number of a server process.
func ask(ctx context.Context, conn *pgconn.PgConn, sql string) (uint32, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return 0, err
	}
	for _, result := range results {
		if len(result.Rows) == 0 {
			continue
		}
		pid, err := strconv.ParseUint(string(result.Rows[0][0]), 10, 32)
		if err != nil {
			return 0, fmt.Errorf("read the number of the server process: %w", err)
		}
		return uint32(pid), nil
	}
	return 0, errors.New("the server did not say which process serves this connection")
}
