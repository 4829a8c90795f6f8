package operate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// prepared looks for transactions that were prepared and forgotten: they hold their locks, and what vacuum may remove,
// over every restart.
func (e *examination) prepared(ctx context.Context) (DoctorCheck, error) {
	type transaction struct {
		GID, Owner string
		Seconds    float64
	}
	old, err := readAll[transaction](ctx, e, `
		SELECT p.gid, p.owner::text, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - p.prepared)::double precision
		FROM pg_catalog.pg_prepared_xacts AS p
		WHERE p.database = pg_catalog.current_database() AND p.prepared < pg_catalog.clock_timestamp() - $1::interval
		ORDER BY p.prepared
		LIMIT 10`, e.cfg.LongTransaction)
	if err != nil || len(old) == 0 {
		return fine("no prepared transaction is open"), err
	}
	var details []string
	for _, t := range old {
		details = append(details, fmt.Sprintf("%s of %s, for %s", t.GID, t.Owner, lasted(t.Seconds)))
	}
	says := counts(len(old), "prepared transaction is", "prepared transactions are") + " left: vacuum cannot remove what they may see, and their locks are held"
	found := warn("%s", says)
	if old[0].Seconds > 2*e.cfg.LongTransaction.Seconds() {
		found = failed("%s", says)
	}
	return found.with(details).so("ask its transaction manager; if that does not know it, roll it back",
		psql("ROLLBACK PREPARED "+literal(old[0].GID))), nil
}

// literal writes a text as SQL does.
func literal(text string) string {
	var b []rune
	for _, r := range text {
		if r == '\'' {
			b = append(b, r)
		}
		b = append(b, r)
	}
	return "'" + string(b) + "'"
}

type slot struct {
	Name     string
	Active   bool
	Status   string // of the WAL it needs; "" if it needs none
	Behind   int64  // transactions that it keeps vacuum from removing
	Retained int64  // bytes of WAL that it keeps
}

// slots that nobody reads keep WAL and dead rows for ever.
func (e *examination) slots(ctx context.Context) (DoctorCheck, error) {
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
	found := fine("%s in use", counts(len(slots), "replication slot is", "replication slots are"))
	var details []string
	var worst string
	for _, s := range slots {
		problem := s.problem()
		if problem.Result == HealthOK {
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

func (s slot) problem() DoctorCheck {
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

type replica struct {
	Name, State, Sync string
	Lag               float64 // seconds
	Bytes             int64
}

// replicas: where commits wait for a synchronous one, everything stands still without it.
func (e *examination) replicas(ctx context.Context) (DoctorCheck, error) {
	var synchronous string
	var standby bool
	var replicas []replica
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		err = tx.QueryRow(ctx, `
			SELECT pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.pg_is_in_recovery()`).Scan(&synchronous, &standby)
		if err != nil || standby {
			return err
		}
		replicas, err = collect(ctx, tx, pgx.RowToStructByPos[replica], `
			SELECT COALESCE(r.application_name, ''), COALESCE(r.state, ''), COALESCE(r.sync_state, ''),
				COALESCE(EXTRACT(EPOCH FROM r.replay_lag), 0)::double precision,
				COALESCE(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn), 0)::bigint
			FROM pg_catalog.pg_stat_replication AS r
			ORDER BY 4 DESC`)
		return err
	})
	switch {
	case err != nil:
		return DoctorCheck{}, err
	case standby:
		return skipped("this is a standby"), nil
	case len(replicas) == 0 && synchronous == "":
		return fine("no replicas"), nil
	}
	return judgeReplicas(replicas, synchronous), nil
}

func judgeReplicas(replicas []replica, synchronous string) DoctorCheck {
	var details []string
	awaited, hidden := false, false
	for _, r := range replicas {
		awaited = awaited || r.Sync == "sync" || r.Sync == "quorum"
		hidden = hidden || r.State == ""
		if r.Lag > 30 || r.Bytes > 256<<20 {
			details = append(details, fmt.Sprintf("%s (%s): %s and %d MB behind", r.Name, r.State, lasted(r.Lag), r.Bytes>>20))
		}
	}
	switch {
	case hidden:
		return skipped("this login cannot see how far behind replicas are").so("have an administrator grant it pg_monitor")
	case synchronous != "" && !awaited:
		return failed("commits wait for a synchronous replica (synchronous_standby_names = %s), and none is connected", synchronous).
			so("bring the replica back, or commit without it", psql("ALTER SYSTEM RESET synchronous_standby_names"),
				" && "+psql("SELECT pg_reload_conf()"))
	case len(details) > 0:
		return warn("%s behind", counts(len(details), "replica is", "replicas are")).with(details).
			so("check the replica's load and network: it has this much less data if you fail over to it now")
	}
	return fine("%s up to date", counts(len(replicas), "replica is", "replicas are"))
}
