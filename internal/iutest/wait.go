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

const (
	firstPause = 5 * time.Millisecond
	mostPause  = 50 * time.Millisecond
)

// Eventually waits until a condition holds, which it evaluates in this goroutine. After timeout the test fails, and says what was
// waited for.
func Eventually(t testing.TB, condition func() bool, timeout time.Duration, what ...any) {
	t.Helper()
	if !poll(timeout, condition) {
		require.FailNow(t, "waited in vain for "+timeout.String(), what...)
	}
}

// poll evaluates a condition until it holds, and reports whether it did within timeout. It pauses longer each time: tests that wait
// would otherwise keep the processors from what they wait for.
func poll(timeout time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(timeout)
	for pause := firstPause; !condition(); pause = min(2*pause, mostPause) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// WaitFor waits until a query returns true. It retries while the server is unreachable. The test fails if the query is wrong, or
// after timeout.
func (db *DB) WaitFor(t testing.TB, timeout time.Duration, query string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var last error
	fulfilled := poll(timeout, func() bool {
		var is *bool // NULL is not true
		err := db.Pool.QueryRow(ctx, query, args...).Scan(&is)
		if ctx.Err() != nil {
			return false
		}
		if last = err; err != nil && !serverAway(err) {
			require.NoError(t, err, query)
		}
		return err == nil && is != nil && *is
	})
	if !fulfilled {
		require.FailNow(t, "waited in vain", "%s for: %s %v (last error: %v)", timeout, query, args, last)
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
