package iutest

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// WaitFor polls a query that returns a boolean until it is true. It retries while the server is unreachable. The test fails if
// the query is wrong, or after timeout.
func (db *DB) WaitFor(t testing.TB, timeout time.Duration, query string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	var last error
	for {
		var fulfilled *bool // NULL is not true
		err := db.Pool.QueryRow(ctx, query, args...).Scan(&fulfilled)
		switch {
		case err == nil && fulfilled != nil && *fulfilled:
			return
		case ctx.Err() != nil:
			require.FailNow(t, "waited in vain", "%s for: %s %v (last error: %v)", timeout, query, args, last)
		case !serverAway(err):
			require.NoError(t, err, query)
		}
		last = err
		<-poll.C
	}
}

// serverAway reports whether an error comes from a broken connection, or from a server that stops or starts.
func serverAway(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgerrcode.IsOperatorIntervention(pgErr.Code)
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.ErrUnexpectedEOF)
}

// WaitBlocked waits until at least n sessions of the test's database wait for a lock.
func WaitBlocked(t testing.TB, db *DB, n int) {
	t.Helper()
	db.WaitFor(t, 30*time.Second, `
		SELECT count(*) >= $1 FROM pg_catalog.pg_stat_activity
		WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'`, n)
}
