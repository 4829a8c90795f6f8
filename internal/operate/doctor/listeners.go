package doctor

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
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
		d.PID, d.User, d.Database, orUnnamed(d.Application), what, operate.Lasted(d.Seconds))
}

// listeners looks for sessions that wait for their client to read. One that listens holds a snapshot meanwhile, and the
// notification queue's end: vacuum cannot clean up, and at last every NOTIFY fails. The queue is the whole server's.
func (e *examination) listeners(ctx context.Context) (Check, error) {
	var hidden int
	err := e.row(ctx, []any{&hidden}, `
		SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type IS NULL AND a.usename IS NOT NULL`)
	if err != nil {
		return Check{}, err
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
		return Check{}, err
	case len(found) == 0 && hidden > 0:
		return fine("no session is seen that does not read; %s hidden from this login (pg_monitor shows them)",
			operate.Plural(hidden, "session is", "sessions are")), nil
	case len(found) == 0:
		return fine("every session reads what it is sent"), nil
	}
	var details []string
	for _, d := range found {
		details = append(details, d.String())
	}
	return warn("%s not read what the server sends: vacuum cannot remove what they may still see, and notifications pile up",
		operate.Plural(len(found), "session does", "sessions do")).with(details).
		so("the program hangs or was stopped: resume it, or end its session; a subscriber continues from its cursor",
			psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", found[0].PID))), nil
}
