package operate

import (
	"context"
	"fmt"
)

// deaf is a session that does not take what the server sends it.
type deaf struct {
	PID         int
	User        string
	Database    string
	Application string
	Idle        bool // it is sent notifications: it asked for nothing else
	Seconds     float64
}

func (d deaf) String() string {
	what := "result"
	if d.Idle {
		what = "notifications"
	}
	return fmt.Sprintf("pid %d, user %s, database %s, %s: its program has not read its %s for %s",
		d.PID, d.User, d.Database, orUnnamed(d.Application), what, lasted(d.Seconds))
}

// listeners looks for sessions that wait for their client to read. One that listens holds a snapshot meanwhile, and the
// notification queue's end: vacuum cannot clean up, and at last every NOTIFY fails. The queue is the whole server's.
func (e *examination) listeners(ctx context.Context) (DoctorCheck, error) {
	var hidden int
	err := e.row(ctx, []any{&hidden}, `
		SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type IS NULL AND a.usename IS NOT NULL`)
	if err != nil {
		return DoctorCheck{}, err
	}
	found, err := readAll[deaf](ctx, e, `
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
	case err != nil:
		return DoctorCheck{}, err
	case len(found) == 0 && hidden > 0:
		return fine("no session is seen that does not read; %s hidden from this login (pg_monitor shows them)",
			counts(hidden, "session is", "sessions are")), nil
	case len(found) == 0:
		return fine("every session reads what it is sent"), nil
	}
	var details []string
	for _, d := range found {
		details = append(details, d.String())
	}
	return warn("%s not read what the server sends: vacuum cannot remove what they may still see, and notifications pile up",
		counts(len(found), "session does", "sessions do")).with(details).
		so("the program hangs or was stopped: resume it, or end its session; a subscriber continues from its cursor",
			psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", found[0].PID))), nil
}

// holder is a process of the server, other than a client's session, that keeps vacuum from removing rows.
type holder struct {
	PID     int
	Type    string
	Name    string // of the standby, or of the program
	Behind  int64  // transactions since its snapshot
	Seconds float64
}

// horizon looks for what holds back vacuum and is in no other check: standbys with feedback, and background processes.
// Sessions are under transactions, prepared ones under prepared, slots under slots. A query in another database holds
// nothing back here.
func (e *examination) horizon(ctx context.Context) (DoctorCheck, error) {
	var behind int64
	err := e.row(ctx, []any{&behind}, `
		SELECT COALESCE(pg_catalog.max(GREATEST(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid))), 0)
		FROM pg_catalog.pg_stat_activity AS a
		WHERE a.datname = pg_catalog.current_database() OR a.datid IS NULL`)
	if err != nil {
		return DoctorCheck{}, err
	}
	holders, err := readAll[holder](ctx, e, `
		SELECT a.pid, COALESCE(a.backend_type, 'hidden'), COALESCE(r.application_name, a.application_name, ''), pg_catalog.age(a.backend_xmin)::bigint,
			COALESCE(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::double precision
		FROM pg_catalog.pg_stat_activity AS a
		LEFT JOIN pg_catalog.pg_stat_replication AS r ON r.pid = a.pid
		WHERE a.backend_xmin IS NOT NULL AND a.backend_type IS DISTINCT FROM 'client backend'
		  AND (a.datname = pg_catalog.current_database() OR a.datid IS NULL)
		ORDER BY 4 DESC
		LIMIT 20`)
	if err != nil {
		return DoctorCheck{}, err
	}
	return judgeHorizon(behind, holders, e.cfg.LongTransaction.Seconds()), nil
}

func judgeHorizon(behind int64, holders []holder, limit float64) DoctorCheck {
	var details []string
	wayOut, next := "", ""
	for _, h := range holders {
		if h.Behind < oldSnapshot && (h.Seconds < limit || h.Type == "walsender") {
			continue
		}
		detail := fmt.Sprintf("pid %d, %s %s: a snapshot %d transactions old", h.PID, h.Type, h.Name, h.Behind)
		if h.Seconds > 0 {
			detail += ", for " + lasted(h.Seconds)
		}
		details = append(details, detail)
		if len(details) > 1 {
			continue
		}
		wayOut, next = "find out what it does, and end it if it does not matter", psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", h.PID))
		if h.Type == "walsender" {
			wayOut = "on the standby, end the query that holds it by hot_standby_feedback, or turn that off; the command is for the standby"
			next = psql("SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xmin IS NOT NULL ORDER BY xact_start")
		}
	}
	if len(details) == 0 {
		return fine("vacuum may remove what is older than %d transactions", behind)
	}
	return warn("vacuum cannot remove what %s may still see", counts(len(details), "process", "processes")).with(details).so(wayOut, next)
}
