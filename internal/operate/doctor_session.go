package operate

import (
	"context"
	"fmt"
	"strings"
)

// openTransaction is a session that is in a transaction, or holds a snapshot.
type openTransaction struct {
	PID         int
	User        string
	Application string
	State       string // "" where this login may not see it
	Seconds     float64
	Idle        float64 // seconds since it did something
	Behind      int64   // transactions since its snapshot
}

func (t openTransaction) String() string {
	if t.State == "" {
		return fmt.Sprintf("pid %d, user %s: a snapshot %d transactions old (grant pg_monitor to see more)", t.PID, t.User, t.Behind)
	}
	idle := ""
	if strings.HasPrefix(t.State, "idle") {
		idle = " for " + lasted(t.Idle)
	}
	return fmt.Sprintf("pid %d, user %s, %s: in a transaction for %s, %s%s", t.PID, t.User, orUnnamed(t.Application), lasted(t.Seconds), t.State, idle)
}

func orUnnamed(application string) string {
	if application == "" {
		return "an unnamed program"
	}
	return application
}

// openTransactions returns those that are open longest, of this database, or of all of them.
func (e *examination) openTransactions(ctx context.Context, everywhere bool) ([]openTransaction, error) {
	return readAll[openTransaction](ctx, e, `
		SELECT a.pid, COALESCE(a.usename, ''), COALESCE(a.application_name, ''), COALESCE(a.state, ''),
			COALESCE(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::double precision,
			COALESCE(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - a.state_change), 0)::double precision,
			COALESCE(GREATEST(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid)), 0)::bigint
		FROM pg_catalog.pg_stat_activity AS a
		WHERE (a.backend_type = 'client backend' OR a.backend_type IS NULL AND a.usename IS NOT NULL) -- NULL: hidden from this login
		  AND a.pid <> pg_catalog.pg_backend_pid()
		  AND ($1 OR a.datname = pg_catalog.current_database())
		  AND (a.xact_start IS NOT NULL OR a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
		ORDER BY a.xact_start NULLS LAST, 7 DESC
		LIMIT 20`, everywhere)
}

// terminate is the command that ends the first of these sessions.
func terminate(open []openTransaction) string {
	if len(open) == 0 {
		return ""
	}
	return psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", open[0].PID))
}

// psql is the command that runs a statement.
func psql(statement string) string {
	return "psql -c '" + strings.ReplaceAll(statement, "'", `'\''`) + "'"
}

// oldSnapshot is how many transactions ago a snapshot may have been taken.
const oldSnapshot = 1_000_000

// transactions that last keep vacuum from cleaning up after the tables through which everything passes.
func (e *examination) transactions(ctx context.Context) (DoctorCheck, error) {
	open, err := e.openTransactions(ctx, false)
	if err != nil {
		return DoctorCheck{}, err
	}
	var long []openTransaction
	var details []string
	hidden := 0
	found := fine("no transaction has been open for long")
	limit := e.cfg.LongTransaction.Seconds()
	for _, t := range open {
		if t.State == "" {
			hidden++
		}
		idle := strings.HasPrefix(t.State, "idle") && t.Idle > limit/5
		if t.Seconds < limit && !idle && t.Behind < oldSnapshot {
			continue
		}
		long = append(long, t)
		details = append(details, t.String())
		if t.Seconds > 12*limit {
			found = failed("")
		} else {
			found = found.worse(warn(""))
		}
	}
	if len(long) == 0 {
		if hidden > 0 {
			found.Says += fmt.Sprintf("; %s hidden from this login (pg_monitor shows them)", counts(hidden, "session is", "sessions are"))
		}
		return found, nil
	}
	found.Says = counts(len(long), "transaction has", "transactions have") +
		" been open for long: vacuum cannot remove what they may still see, and their locks are held"
	return found.with(details).so("find out what they do, and end them if they do not matter", terminate(long)), nil
}

// counts writes a number with its noun.
func counts(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

type waitingSession struct {
	PID      int
	Seconds  float64
	What     string
	Blockers string
}

// locks looks for who waits for one for long, and for whom.
func (e *examination) locks(ctx context.Context) (DoctorCheck, error) {
	waiting, err := readAll[waitingSession](ctx, e, `
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
	var details []string
	for _, w := range waiting {
		details = append(details, fmt.Sprintf("pid %d has waited for %s for %s, blocked by pid %s", w.PID, w.What, lasted(w.Seconds), w.Blockers))
	}
	says := counts(len(waiting), "session waits", "sessions wait") + " for a lock for more than " + e.cfg.LongWait.String()
	found := warn("%s", says)
	if waiting[0].Seconds > 6*e.cfg.LongWait.Seconds() {
		found = failed("%s", says)
	}
	blocker, _, _ := strings.Cut(waiting[0].Blockers, ",")
	return found.with(details).so("find out what the blocking session does, and end it if it does not matter",
		psql("SELECT pg_terminate_backend("+blocker+")")), nil
}
