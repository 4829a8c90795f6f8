package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// holder is a process of the server, other than a client's session, that keeps vacuum from removing rows.
type holder struct {
	PID     int
	Type    string
	Name    string // of the standby, or of the program
	Behind  int64  // transactions since its snapshot
	Seconds float64
}

// holds reports whether the process holds back vacuum for long: walsenders have no transaction of their own.
func (h holder) holds(limit float64) bool {
	return h.Behind >= oldSnapshot || h.Seconds >= limit && h.Type != "walsender"
}

func (h holder) String() string {
	text := fmt.Sprintf("pid %d, %s %s: a snapshot %d transactions old", h.PID, h.Type, h.Name, h.Behind)
	if h.Seconds > 0 {
		text += ", for " + operate.Lasted(h.Seconds)
	}
	return text
}

// horizon looks for what holds back vacuum and is in no other check: standbys with feedback, and background processes.
// Sessions are under transactions, prepared transactions under prepared, slots under slots. A query in another database
// holds nothing back here.
func (e *examination) horizon(ctx context.Context, tx pgx.Tx) (Check, error) {
	var behind int64
	err := tx.QueryRow(ctx, `
		SELECT COALESCE(pg_catalog.max(GREATEST(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid))), 0)
		FROM pg_catalog.pg_stat_activity AS a
		WHERE a.datname = pg_catalog.current_database() OR a.datid IS NULL`).Scan(&behind)
	if err != nil {
		return Check{}, err
	}
	holders, err := structs[holder](ctx, tx, `
		SELECT a.pid, COALESCE(a.backend_type, 'hidden'), COALESCE(r.application_name, a.application_name, ''), pg_catalog.age(a.backend_xmin)::bigint,
			COALESCE(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::double precision
		FROM pg_catalog.pg_stat_activity AS a
		LEFT JOIN pg_catalog.pg_stat_replication AS r ON r.pid = a.pid
		WHERE a.backend_xmin IS NOT NULL AND a.backend_type IS DISTINCT FROM 'client backend'
		  AND (a.datname = pg_catalog.current_database() OR a.datid IS NULL)
		ORDER BY 4 DESC
		LIMIT 20`)
	return judgeHorizon(behind, holders, e.cfg.LongTransaction.Seconds()), err
}

func judgeHorizon(behind int64, holders []holder, limit float64) Check {
	holders = slices.DeleteFunc(holders, func(h holder) bool { return !h.holds(limit) })
	if len(holders) == 0 {
		return fine("vacuum may remove what is older than %d transactions", behind)
	}
	wayOut, next := "find out what it does, and end it if it does not matter", terminate(holders[0].PID)
	if holders[0].Type == "walsender" {
		wayOut = "on the standby, end the query that holds it by hot_standby_feedback, or turn that off; the command is for the standby"
		next = psql("SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xmin IS NOT NULL ORDER BY xact_start")
	}
	return warn("vacuum cannot remove what %s may still see", operate.Plural(len(holders), "process", "processes")).
		with(lines(holders, holder.String)).so(wayOut, next)
}
