package iusql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// lockKey is the advisory lock of migrations in a database: "iu_migr" as a number.
	lockKey = 0x69755f6d696772

	lockPoll = 200 * time.Millisecond
)

// sessionLocker is goose's lock of a session, on one advisory lock. goose has a locker of its own, which asks every
// 5 s: five of six processes that start at once would wait that long for nothing. It asks rather than waits in
// pg_advisory_lock, since a session that waits there holds a snapshot, for which CREATE INDEX CONCURRENTLY waits in
// turn. A session that has the lock gets it again; it has to give it back as often.
type sessionLocker struct {
	wait   time.Duration
	logger *slog.Logger
}

// SessionLock returns when conn has the lock, or ErrBusy with the name of who has it.
func (l sessionLocker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	deadline := time.Now().Add(l.wait)
	for try := 0; ; try++ {
		var got bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1)", int64(lockKey)).Scan(&got); err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		switch {
		case got:
			return nil
		case time.Now().After(deadline):
			return fail(ErrBusy, "another migration of this database did not end within %s: %s; wait for it, or end that session with pg_terminate_backend",
				l.wait, l.holder(ctx, conn))
		case try == 0:
			l.logger.InfoContext(ctx, "Migration: waiting for another migration of this database", slog.String("holder", l.holder(ctx, conn)))
		}
		if !sleep(ctx, lockPoll/2+rand.N(lockPoll)) {
			return fmt.Errorf("lock migrations: %w", context.Cause(ctx))
		}
	}
}

// SessionUnlock gives the lock back, once.
func (l sessionLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	var had bool
	err := conn.QueryRowContext(ctx, "SELECT pg_catalog.pg_advisory_unlock($1)", int64(lockKey)).Scan(&had)
	if err != nil {
		return fmt.Errorf("unlock migrations: %w", err)
	}
	if !had {
		return errors.New("unlock migrations: the lock was lost with its connection")
	}
	return nil
}

// holder returns who has the lock, as far as it can be known.
func (l sessionLocker) holder(ctx context.Context, conn *sql.Conn) string {
	var who string
	err := conn.QueryRowContext(ctx, `
		SELECT `+describeSession+`
		FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
		  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
		  AND (l.classid::bigint << 32) | l.objid::bigint = $1`, int64(lockKey)).Scan(&who)
	if err != nil {
		return "session unknown"
	}
	return who
}

// describeSession describes a row a of pg_stat_activity; never by its query, which may hold secrets.
const describeSession = `pg_catalog.format('session %s of role %s (%s, %s since %s)', a.pid, COALESCE(a.usename, '?'),
		COALESCE(NULLIF(a.application_name, ''), 'no application name'), COALESCE(a.state, 'state unknown'),
		COALESCE(pg_catalog.to_char(a.state_change, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))`
