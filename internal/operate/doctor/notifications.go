package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/operate"
)

// listener sends a notification through the pool and waits for it at the address where workers listen.
func (e *examination) listener(ctx context.Context, _ pgx.Tx) (Check, error) {
	patience := max(listen.ProbeTimeout, e.cfg.StatementTimeout)
	ctx, cancel := context.WithTimeout(ctx, patience+e.cfg.StatementTimeout)
	defer cancel()
	start := time.Now()
	works, err := listen.WorksWithin(ctx, patience, e.cfg.Pool, e.cfg.Direct)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return Check{}, err
	case err != nil:
		return failed("no notification could be sent: %s", e.cfg.Explain(err)).
			so("pass an address where LISTEN works as --direct-database-url"), nil
	case !works:
		return warn("a notification does not arrive within %s: there is a transaction pooler in between", patience).
			so("workers poll, which costs latency: pass the server's own address as --direct-database-url, too", giveDirect), nil
	}
	return fine("a notification arrives in %s, connecting included", time.Since(start).Round(time.Millisecond)), nil
}

// notifications checks how full the server's queue of notifications is. A session that listens and stays in a transaction
// fills it; when it is full, every NOTIFY fails at commit.
func (e *examination) notifications(ctx context.Context, tx pgx.Tx) (Check, error) {
	var usage float64
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.pg_notification_queue_usage()").Scan(&usage); err != nil {
		return Check{}, err
	}
	if usage < 0.05 {
		return fine("the notification queue is %.1f%% full", usage*100), nil
	}
	open, err := openTransactions(ctx, tx, true)
	return judgeNotifications(usage, open), err
}

func judgeNotifications(usage float64, open []openTransaction) Check {
	found := warn("the notification queue is %.0f%% full", usage*100)
	if usage >= 0.5 {
		found = failed("the notification queue is %.0f%% full: emissions go without a NOTIFY, and when it is full, commits that notify fail", usage*100)
	}
	var next string
	if len(open) > 0 {
		next = terminate(open[0].PID)
	}
	return found.with(lines(open, openTransaction.String)).so("end the listening session that has been in a transaction for long", next)
}

// deaf is a session that does not read what the server sends.
type deaf struct {
	PID         int
	User        string
	Database    string
	Application string
	Idle        bool // it runs no statement: the server sends it notifications
	Seconds     float64
}

func (d deaf) String() string {
	what := "result"
	if d.Idle {
		what = "notifications"
	}
	return fmt.Sprintf("pid %d, user %s, database %s, %s: its program has not read its %s for %s",
		d.PID, d.User, d.Database, orUnnamed(d.Application), what, operate.Lasted(d.Seconds))
}

// listeners finds sessions whose client does not read. If such a session listens, it holds a snapshot and the tail of the
// notification queue, which all databases share: vacuum cannot clean up, and in the end every NOTIFY fails.
func (e *examination) listeners(ctx context.Context, tx pgx.Tx) (Check, error) {
	var hidden int
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type IS NULL AND a.usename IS NOT NULL`).Scan(&hidden)
	if err != nil {
		return Check{}, err
	}
	found, err := structs[deaf](ctx, tx, `
		SELECT a.pid, COALESCE(a.usename, ''), COALESCE(a.datname, ''), COALESCE(a.application_name, ''), a.state = 'idle',
			EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - COALESCE(a.xact_start, a.state_change))::double precision
		FROM pg_catalog.pg_stat_activity AS a
		WHERE a.backend_type = 'client backend' AND a.wait_event = 'ClientWrite'
		  AND COALESCE(a.xact_start, a.state_change) < pg_catalog.clock_timestamp()
			- CASE WHEN a.state = 'idle' THEN $1::interval ELSE $2::interval END
		  AND (a.state = 'idle' OR a.datname = pg_catalog.current_database())
		ORDER BY 6 DESC
		LIMIT 20`, e.cfg.LongWait, e.cfg.LongTransaction)
	switch {
	case len(found) == 0 && hidden > 0:
		return fine("no session is seen that does not read; %s", hiddenSessions(hidden)), err
	case len(found) == 0:
		return fine("every session reads what it is sent"), err
	}
	return warn("%s not read what the server sends: vacuum cannot remove what they may still see, and notifications pile up",
		operate.Plural(len(found), "session does", "sessions do")).with(lines(found, deaf.String)).
		so("the program hangs or was stopped: resume it, or end its session; a subscriber continues from its cursor", terminate(found[0].PID)), nil
}

// hiddenSessions is a sentence about the sessions that a login without pg_monitor does not see.
func hiddenSessions(n int) string {
	return operate.Plural(n, "session is", "sessions are") + " hidden from this login (pg_monitor shows them)"
}

// payload reports what notifications carry and which logins can read them: every login of the database may LISTEN.
func (e *examination) payload(ctx context.Context, tx pgx.Tx) (Check, error) {
	var form string
	err := tx.QueryRow(ctx, "SELECT s.value FROM iu_outbox.settings() AS s WHERE s.name = $1", operate.SettingNotifyPayload).Scan(&form)
	if err != nil || form != operate.PayloadEvent {
		return fine("notifications carry the cursor alone"), err
	}
	strangers, err := texts(ctx, tx, `
		SELECT r.rolname::text FROM pg_catalog.pg_roles AS r
		WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname !~ '^pg_'
		  AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
		  AND NOT pg_catalog.has_table_privilege(r.oid, 'iu_outbox.emission', 'SELECT')
		ORDER BY r.rolname LIMIT 100`)
	if err != nil || len(strangers) == 0 {
		return fine("notifications carry whole events"), err
	}
	return fine("notifications carry whole events, and %s without another right to read them can listen; to hide them, run: iuworker settings set %s %s",
		operate.Plural(len(strangers), "login", "logins"), operate.SettingNotifyPayload, operate.PayloadCursor).with(strangers), nil
}
