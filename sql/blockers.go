package iusql

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/retry"
)

const (
	blockersUnknown = "a session that could not be determined"
	blockersPoll    = 100 * time.Millisecond
	blockersTimeout = 5 * time.Second // to connect
)

// A blockerWatch finds out, on its own connection, which session blocks a transaction while the transaction waits:
// after lock_timeout the server can no longer tell. It connects only if the transaction takes long.
type blockerWatch struct {
	cancel context.CancelFunc
	seen   chan string
}

func (s *session) watchBlockers(ctx context.Context) *blockerWatch {
	ctx, cancel := context.WithCancel(ctx)
	watch := &blockerWatch{cancel: cancel, seen: make(chan string, 1)}
	go func() {
		last := blockersUnknown
		defer func() { watch.seen <- last }()
		if !retry.Pause(ctx, min(s.cfg.LockTimeout/2, time.Second)) {
			return
		}
		config := dbsession.Prepared(s.cfg.ConnConfig)
		config.ConnectTimeout = blockersTimeout
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return // perhaps no connection is left; then only the name is missing
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for {
			var who *string
			err := conn.QueryRow(ctx, blockersQuery, s.conn.PgConn().PID()).Scan(&who)
			if err != nil {
				return
			}
			if who != nil {
				last = *who
			}
			if !retry.Pause(ctx, blockersPoll) {
				return
			}
		}
	}()
	return watch
}

// pg_blocking_pids returns pid 0 for a prepared transaction.
const blockersQuery = `
	SELECT pg_catalog.string_agg(
		CASE WHEN a.pid IS NULL THEN 'a prepared transaction, see pg_prepared_xacts' ELSE ` + describeSession + ` END, ' and ')
	FROM (SELECT DISTINCT b.pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b (pid)) AS b
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid`

// stop ends the watch and returns a description of the last session that blocked the transaction.
func (w *blockerWatch) stop() string {
	w.cancel()
	return <-w.seen
}
