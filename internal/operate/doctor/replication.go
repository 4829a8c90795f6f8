package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

type slot struct {
	Name     string
	Active   bool
	Status   string // of the WAL it needs; "" if it needs none
	Behind   int64  // transactions that it keeps vacuum from removing
	Retained int64  // bytes of WAL that it keeps
}

// slots finds replication slots without a reader: they keep WAL and dead rows forever.
func (e *examination) slots(ctx context.Context, tx pgx.Tx) (Check, error) {
	slots, err := structs[slot](ctx, tx, `
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
	var worst string
	for _, s := range slots {
		problem := s.problem()
		if found.add(problem.Result, problem.Says) {
			worst = s.Name
		}
	}
	if len(found.Details) == 0 {
		return found, nil
	}
	found.Says = "replication slots retain WAL, or dead rows, for readers that are away"
	return found.with(found.Details).so("start the reader again; if it will never return, drop the slot",
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

type streaming struct {
	Name, State, Sync string
	Lag               float64 // seconds
	Bytes             int64
}

// replicas checks how far replicas are behind. If commits wait for a synchronous one, nothing commits without it.
func (e *examination) replicas(ctx context.Context, tx pgx.Tx) (Check, error) {
	var synchronous string
	var standby bool
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.pg_is_in_recovery()`).Scan(&synchronous, &standby)
	if err != nil || standby {
		return skipped("this is a standby"), err
	}
	replicas, err := structs[streaming](ctx, tx, `
		SELECT COALESCE(r.application_name, ''), COALESCE(r.state, ''), COALESCE(r.sync_state, ''),
			COALESCE(EXTRACT(EPOCH FROM r.replay_lag), 0)::double precision,
			COALESCE(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn), 0)::bigint
		FROM pg_catalog.pg_stat_replication AS r
		ORDER BY 4 DESC`)
	if len(replicas) == 0 && synchronous == "" {
		return fine("no replicas"), err
	}
	return judgeReplicas(replicas, synchronous), err
}

func judgeReplicas(replicas []streaming, synchronous string) Check {
	var details []string
	awaited, hidden := false, false
	for _, r := range replicas {
		awaited = awaited || r.Sync == "sync" || r.Sync == "quorum"
		hidden = hidden || r.State == ""
		if r.Lag > 30 || r.Bytes > 256<<20 {
			details = append(details, fmt.Sprintf("%s (%s): %s and %d MB behind", r.Name, r.State, operate.Lasted(r.Lag), r.Bytes>>20))
		}
	}
	switch {
	case hidden:
		return skipped("this login cannot see how far behind replicas are").so("have an administrator grant it pg_monitor")
	case synchronous != "" && !awaited:
		return failed("commits wait for a synchronous replica (synchronous_standby_names = %s), and none is connected", synchronous).
			so("bring the replica back, or commit without it", psql("ALTER SYSTEM RESET synchronous_standby_names"), psql("SELECT pg_reload_conf()"))
	case len(details) > 0:
		return warn("%s behind", operate.Plural(len(details), "replica is", "replicas are")).with(details).
			so("check the replica's load and network: it has this much less data if you fail over to it now")
	}
	return fine("%s up to date", operate.Plural(len(replicas), "replica is", "replicas are"))
}
