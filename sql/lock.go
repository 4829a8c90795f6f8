package iusql

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	// lockKey is the advisory lock of migrations in a database: "iu_migr" as a number.
	lockKey = 0x69755f6d696772

	lockPoll = 200 * time.Millisecond
)

// lock takes the migrations' lock, which the session keeps until its connection ends, or fails with ErrBusy and the
// name of the session that holds it. It polls, because a session that waits in pg_advisory_lock holds a snapshot,
// for which CREATE INDEX CONCURRENTLY would wait in turn.
func (s *session) lock(ctx context.Context) error {
	deadline := time.Now().Add(s.cfg.Wait)
	for try := 0; ; try++ {
		var got bool
		if err := s.conn.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1)", int64(lockKey)).Scan(&got); err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		switch {
		case got:
			return nil
		case time.Now().After(deadline):
			return fail(ErrBusy, "another migration of this database did not end within %s: %s; wait for it, or end that session with pg_terminate_backend",
				s.cfg.Wait, s.lockHolder(ctx))
		case try == 0:
			s.cfg.Logger.InfoContext(ctx, "Migration: waiting for another migration of this database", slog.String("holder", s.lockHolder(ctx)))
		}
		if !retry.Pause(ctx, lockPoll/2+rand.N(lockPoll)) {
			return fmt.Errorf("lock migrations: %w", context.Cause(ctx))
		}
	}
}

// lockHolder describes the session that holds the lock, as far as that is known.
func (s *session) lockHolder(ctx context.Context) string {
	var who string
	err := s.conn.QueryRow(ctx, `
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

// describeSession is an SQL expression that describes a row a of pg_stat_activity. It omits the query, which may contain secrets.
const describeSession = `pg_catalog.format('session %s of role %s (%s, %s since %s)', a.pid, COALESCE(a.usename, '?'),
		COALESCE(NULLIF(a.application_name, ''), 'no application name'), COALESCE(a.state, 'state unknown'),
		COALESCE(pg_catalog.to_char(a.state_change, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))`
