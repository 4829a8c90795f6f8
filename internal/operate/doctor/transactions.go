package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
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
		idle = " for " + operate.Lasted(t.Idle)
	}
	return fmt.Sprintf("pid %d, user %s, %s: in a transaction for %s, %s%s", t.PID, t.User, orUnnamed(t.Application), operate.Lasted(t.Seconds), t.State, idle)
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

// oldSnapshot is how many transactions ago a snapshot may have been taken.
const oldSnapshot = 1_000_000

// transactions that last keep vacuum from cleaning up after the tables through which everything passes.
func (e *examination) transactions(ctx context.Context) (Check, error) {
	open, err := e.openTransactions(ctx, false)
	if err != nil {
		return Check{}, err
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
			found.Says += fmt.Sprintf("; %s hidden from this login (pg_monitor shows them)", operate.Plural(hidden, "session is", "sessions are"))
		}
		return found, nil
	}
	found.Says = operate.Plural(len(long), "transaction has", "transactions have") +
		" been open for long: vacuum cannot remove what they may still see, and their locks are held"
	return found.with(details).so("find out what they do, and end them if they do not matter", terminate(long)), nil
}
