package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// openTransaction is a session that is in a transaction, or holds a snapshot.
type openTransaction struct {
	PID         int
	User        string
	Application string
	State       string // "" if this login may not see it
	Seconds     float64
	Idle        float64 // seconds since it did something
	Behind      int64   // transactions since its snapshot
}

// idles reports whether the transaction waits for its client.
func (t openTransaction) idles() bool { return strings.HasPrefix(t.State, "idle") }

func (t openTransaction) String() string {
	if t.State == "" {
		return fmt.Sprintf("pid %d, user %s: a snapshot %d transactions old (grant pg_monitor to see more)", t.PID, t.User, t.Behind)
	}
	idle := ""
	if t.idles() {
		idle = " for " + operate.Lasted(t.Idle)
	}
	return fmt.Sprintf("pid %d, user %s, %s: in a transaction for %s, %s%s",
		t.PID, t.User, orUnnamed(t.Application), operate.Lasted(t.Seconds), t.State, idle)
}

// openTransactions returns those that are open longest, of this database or of all databases.
func openTransactions(ctx context.Context, tx pgx.Tx, everywhere bool) ([]openTransaction, error) {
	return structs[openTransaction](ctx, tx, `
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

// oldSnapshot is how many transactions ago a snapshot may have been taken.
const oldSnapshot = 1_000_000

// transactions finds transactions that are open for long: vacuum cannot clean up after them.
func (e *examination) transactions(ctx context.Context, tx pgx.Tx) (Check, error) {
	open, err := openTransactions(ctx, tx, false)
	limit := e.cfg.LongTransaction.Seconds()
	hidden := 0
	var long []openTransaction
	for _, t := range open {
		if t.State == "" {
			hidden++
		}
		if t.Seconds >= limit || t.idles() && t.Idle > limit/5 || t.Behind >= oldSnapshot {
			long = append(long, t)
		}
	}
	switch {
	case len(long) == 0 && hidden > 0:
		return fine("no transaction has been open for long; %s", hiddenSessions(hidden)), err
	case len(long) == 0:
		return fine("no transaction has been open for long"), err
	}
	grave := slices.ContainsFunc(long, func(t openTransaction) bool { return t.Seconds > 12*limit })
	return wrong(grave, "%s been open for long: vacuum cannot remove what they may still see, and their locks are held",
		operate.Plural(len(long), "transaction has", "transactions have")).with(lines(long, openTransaction.String)).
		so("find out what they do, and end them if they do not matter", terminate(long[0].PID)), nil
}

type preparedTransaction struct {
	GID, Owner string
	Seconds    float64
}

// prepared finds transactions that were prepared and forgotten: they keep their locks and snapshots across restarts.
func (e *examination) prepared(ctx context.Context, tx pgx.Tx) (Check, error) {
	old, err := structs[preparedTransaction](ctx, tx, `
		SELECT p.gid, p.owner::text, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - p.prepared)::double precision
		FROM pg_catalog.pg_prepared_xacts AS p
		WHERE p.database = pg_catalog.current_database() AND p.prepared < pg_catalog.clock_timestamp() - $1::interval
		ORDER BY p.prepared
		LIMIT 10`, e.cfg.LongTransaction)
	if err != nil || len(old) == 0 {
		return fine("no prepared transaction is open"), err
	}
	return wrong(old[0].Seconds > 2*e.cfg.LongTransaction.Seconds(),
		"%s left: vacuum cannot remove what they may see, and their locks are held",
		operate.Plural(len(old), "prepared transaction is", "prepared transactions are")).
		with(lines(old, func(t preparedTransaction) string {
			return fmt.Sprintf("%s of %s, for %s", t.GID, t.Owner, operate.Lasted(t.Seconds))
		})).so("ask its transaction manager; if that does not know it, roll it back", psql("ROLLBACK PREPARED "+literal(old[0].GID))), nil
}

type waitingSession struct {
	PID      int
	Seconds  float64
	What     string
	Blockers string
}

// locks finds sessions that wait long for a lock, and the sessions that hold it.
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
