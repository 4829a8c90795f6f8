package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

type waitingSession struct {
	PID      int
	Seconds  float64
	What     string
	Blockers string
}

// locks looks for sessions that wait long for a lock, and for those that hold it.
func (e *examination) locks(ctx context.Context, tx pgx.Tx) (Check, error) {
	waiting, err := structs[waitingSession](ctx, tx, `
		SELECT w.pid, w.seconds,
			COALESCE(pg_catalog.format('%s on %s', w.mode, w.relation), w.mode || ' on a ' || w.locktype),
			pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(w.pid), ', ')
		FROM (
			SELECT l.pid, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - l.waitstart)::double precision AS seconds, l.mode, l.locktype,
				(SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class AS c
				 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = l.relation) AS relation
			FROM pg_catalog.pg_locks AS l
			JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
			WHERE NOT l.granted AND a.datname = pg_catalog.current_database()
			  AND l.waitstart < pg_catalog.clock_timestamp() - $1::interval
			ORDER BY l.waitstart
			LIMIT 10
		) AS w`, e.cfg.LongWait)
	if err != nil || len(waiting) == 0 {
		return fine("no session has waited long for a lock"), err
	}
	details := lines(waiting, func(w waitingSession) string {
		return fmt.Sprintf("pid %d has waited for %s for %s, blocked by pid %s", w.PID, w.What, operate.Lasted(w.Seconds), w.Blockers)
	})
	blocker, _, _ := strings.Cut(waiting[0].Blockers, ",")
	return wrong(waiting[0].Seconds > 6*e.cfg.LongWait.Seconds(), "%s for a lock for more than %s",
		operate.Plural(len(waiting), "session waits", "sessions wait"), e.cfg.LongWait).with(details).
		so("find out what the blocking session does, and end it if it does not matter", psql("SELECT pg_terminate_backend("+blocker+")")), nil
}
