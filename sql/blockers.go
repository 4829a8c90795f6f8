package iusql

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/dbsession"
)

const (
	blockersUnknown = "a session that could not be determined"
	blockersPoll    = 100 * time.Millisecond
	blockersTimeout = 5 * time.Second // to connect
)

// A blockerWatch looks, on a connection of its own, at who blocks a transaction while it waits: once lock_timeout
// has ended the wait, nobody can tell any more. It connects only where the transaction takes long enough for that.
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
		if !sleep(ctx, min(s.cfg.LockTimeout/2, time.Second)) {
			return
		}
		config := dbsession.Prepared(s.cfg.ConnConfig)
		config.ConnectTimeout = blockersTimeout
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return // perhaps there is no connection left; it is only about a name
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
			if !sleep(ctx, blockersPoll) {
				return
			}
		}
	}()
	return watch
}

// pid 0 is how pg_blocking_pids names a prepared transaction.
const blockersQuery = `
	SELECT pg_catalog.string_agg(
		CASE WHEN a.pid IS NULL THEN 'a prepared transaction, see pg_prepared_xacts' ELSE ` + describeSession + ` END, ' and ')
	FROM (SELECT DISTINCT b.pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b (pid)) AS b
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid`

// stop ends the watch and returns who blocked last.
func (w *blockerWatch) stop() string {
	w.cancel()
	return <-w.seen
}

// sleep reports whether it lasted, and the context did not end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
