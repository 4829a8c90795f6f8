package iutest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	waitPoll    = 5 * time.Millisecond
	waitBlocked = 30 * time.Second
)

// WaitFor asks a query for one boolean until it is true; the test fails where that, or the query, takes longer than
// timeout.
func (db *DB) WaitFor(t testing.TB, timeout time.Duration, query string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	poll := time.NewTicker(waitPoll)
	defer poll.Stop()
	for {
		var fulfilled *bool // NULL is not true
		err := db.Pool.QueryRow(ctx, query, args...).Scan(&fulfilled)
		if ctx.Err() != nil {
			require.FailNow(t, "waited in vain", "%s for: %s %v", timeout, query, args)
		}
		require.NoError(t, err, query)
		if fulfilled != nil && *fulfilled {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// WaitBlocked waits until at least n sessions of the test's database wait for a lock.
func WaitBlocked(t testing.TB, db *DB, n int) {
	t.Helper()
	db.WaitFor(t, waitBlocked, `
		SELECT count(*) >= $1 FROM pg_catalog.pg_stat_activity
		WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'`, n)
}
