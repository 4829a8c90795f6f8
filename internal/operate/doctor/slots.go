package doctor

import (
	"context"

	"github.com/iu-core/iuworker/internal/operate"
)

type slot struct {
	Name     string
	Active   bool
	Status   string // of the WAL it needs; "" if it needs none
	Behind   int64  // transactions that it keeps vacuum from removing
	Retained int64  // bytes of WAL that it keeps
}

// slots that nobody reads keep WAL and dead rows for ever.
func (e *examination) slots(ctx context.Context) (Check, error) {
	slots, err := readAll[slot](ctx, e, `
		SELECT s.slot_name::text, s.active, COALESCE(s.wal_status, ''),
			COALESCE(GREATEST(pg_catalog.age(s.xmin), pg_catalog.age(s.catalog_xmin)), 0)::bigint,
			CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0
			     ELSE COALESCE(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn), 0) END::bigint
		FROM pg_catalog.pg_replication_slots AS s
		WHERE NOT s.temporary
		ORDER BY 5 DESC`)
	if err != nil || len(slots) == 0 {
		return fine("no replication slots"), err
	}
	found := fine("%s in use", operate.Plural(len(slots), "replication slot is", "replication slots are"))
	var details []string
	var worst string
	for _, s := range slots {
		problem := s.problem()
		if problem.Result == operate.HealthOK {
			continue
		}
		details = append(details, problem.Says)
		if worse := found.worse(problem); worse.Result != found.Result {
			found.Result, worst = worse.Result, s.Name
		}
	}
	if len(details) == 0 {
		return found, nil
	}
	found.Says = "replication slots retain WAL, or dead rows, for readers that are away"
	return found.with(details).so("start the reader again; if it will never return, drop the slot",
		psql("SELECT pg_drop_replication_slot("+literal(worst)+")")), nil
}

func (s slot) problem() Check {
	const gigabyte = 1 << 30
	switch {
	case s.Status == "lost" || s.Status == "unreserved":
		return failed("%s: the WAL that it needs is %s", s.Name, s.Status)
	case !s.Active && s.Retained > gigabyte:
		return failed("%s: inactive, and it retains %.1f GB of WAL", s.Name, float64(s.Retained)/gigabyte)
	case s.Behind > 10*oldSnapshot:
		return failed("%s: it retains the dead rows of %d transactions", s.Name, s.Behind)
	case !s.Active:
		return warn("%s: inactive", s.Name)
	case s.Behind > oldSnapshot:
		return warn("%s: it retains the dead rows of %d transactions", s.Name, s.Behind)
	}
	return fine("")
}
