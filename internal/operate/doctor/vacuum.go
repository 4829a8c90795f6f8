package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// vacuumed is how clean a table is.
type vacuumed struct {
	Name       string
	Live, Dead int64
	Enabled    bool
	Trigger    int64   // dead rows at which autovacuum begins
	Running    bool    // it is being vacuumed now
	Seconds    float64 // since it was vacuumed, or the server started
}

// vacuumSQL reads the tables that events pass, and those that grow.
const vacuumSQL = `
	SELECT s.schemaname || '.' || s.relname, s.n_live_tup, s.n_dead_tup,
		COALESCE(o.enabled, 'true')::boolean,
		(COALESCE(o.threshold, pg_catalog.current_setting('autovacuum_vacuum_threshold'))::double precision
			+ COALESCE(o.scale, pg_catalog.current_setting('autovacuum_vacuum_scale_factor'))::double precision
			* GREATEST(c.reltuples, 0))::bigint,
		EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum AS p WHERE p.relid = s.relid),
		EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - GREATEST(s.last_vacuum, s.last_autovacuum, pg_catalog.pg_postmaster_start_time()))::double precision
	FROM pg_catalog.pg_stat_user_tables AS s
	JOIN pg_catalog.pg_class AS c ON c.oid = s.relid
	CROSS JOIN LATERAL (
		SELECT pg_catalog.max(r.option_value) FILTER (WHERE r.option_name = 'autovacuum_enabled') AS enabled,
			pg_catalog.max(r.option_value) FILTER (WHERE r.option_name = 'autovacuum_vacuum_threshold') AS threshold,
			pg_catalog.max(r.option_value) FILTER (WHERE r.option_name = 'autovacuum_vacuum_scale_factor') AS scale
		FROM pg_catalog.pg_options_to_table(c.reloptions) AS r
	) AS o
	WHERE s.schemaname IN ('iu_outbox', 'iu_river') OR s.schemaname = 'public' AND s.relname IN (
		'dot_config', 'event_type_registry', 'iu_piece', 'iu_piece_collection', 'iu_piece_membership',
		'iu_collection_template_instance_lineage', 'iu_auto_instantiate_event_log')
	ORDER BY s.n_dead_tup DESC, 1`

// manyDead is how many dead rows a table may have, whatever its size, and unvacuumedFor for how many seconds: at full load
// the outbox leaves more than a hundred thousand dead rows per minute.
const (
	manyDead      = 50_000
	unvacuumedFor = 10 * 60.0
)

// problem returns what is wrong; "" if nothing is.
func (v vacuumed) problem() string {
	switch {
	case !v.Enabled:
		return v.Name + ": autovacuum is switched off"
	case v.Dead > 2*v.Trigger+manyDead && v.Seconds > unvacuumedFor && !v.Running:
		return fmt.Sprintf("%s: %d dead rows and %d live ones, not vacuumed for %s", v.Name, v.Dead, v.Live, operate.Lasted(v.Seconds))
	}
	return ""
}

// vacuum finds tables with many dead rows, which each read of the outbox and each fetch of a job must scan.
func (e *examination) vacuum(ctx context.Context, tx pgx.Tx) (Check, error) {
	var on, counting bool
	var age int64
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('autovacuum')::boolean, pg_catalog.current_setting('track_counts')::boolean,
			pg_catalog.age(d.datfrozenxid)::bigint
		FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()`).Scan(&on, &counting, &age)
	switch {
	case err != nil:
		return Check{}, err
	case !on || !counting:
		return failed("autovacuum is off for the whole server").
			so("turn it on: the outbox and the jobs slow down hour by hour",
				psql("ALTER SYSTEM RESET autovacuum"), psql("ALTER SYSTEM RESET track_counts"), psql("SELECT pg_reload_conf()")), nil
	case age > 1_000_000_000:
		return failed("the oldest transaction is %d transactions old: at 2 billion the server stops", age).
			so("end what the checks transactions, prepared and slots name, then vacuum", psql("VACUUM FREEZE")), nil
	}
	tables, err := structs[vacuumed](ctx, tx, vacuumSQL)
	return judgeVacuum(tables), err
}

func judgeVacuum(tables []vacuumed) Check {
	tables = slices.DeleteFunc(tables, func(table vacuumed) bool { return table.problem() == "" })
	if len(tables) == 0 {
		return fine("no table has many dead rows")
	}
	details := lines(tables, vacuumed.problem)
	next := psql("VACUUM (ANALYZE) " + tables[0].Name)
	if !tables[0].Enabled {
		next = psql("ALTER TABLE " + tables[0].Name + " RESET (autovacuum_enabled)")
	}
	if slices.ContainsFunc(tables, func(table vacuumed) bool { return !table.Enabled }) {
		return failed("autovacuum is off for tables that need it").with(details).so("turn it on", next)
	}
	return warn("%s many dead rows", operate.Plural(len(tables), "table has", "tables have")).with(details).
		so("end what the checks transactions, prepared and slots name; if they name nothing, autovacuum is too slow", next)
}

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

// horizon finds what holds back vacuum and belongs to no other check: standbys with feedback, and background processes. A query
// in another database holds nothing back here.
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
