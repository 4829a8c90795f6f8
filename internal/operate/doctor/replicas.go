package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

type replica struct {
	Name, State, Sync string
	Lag               float64 // seconds
	Bytes             int64
}

// replicas: where commits wait for a synchronous one, everything stands still without it.
func (e *examination) replicas(ctx context.Context) (Check, error) {
	var synchronous string
	var standby bool
	var replicas []replica
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		err = tx.QueryRow(ctx, `
			SELECT pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.pg_is_in_recovery()`).Scan(&synchronous, &standby)
		if err != nil || standby {
			return err
		}
		replicas, err = operate.Collect(ctx, tx, pgx.RowToStructByPos[replica], `
			SELECT COALESCE(r.application_name, ''), COALESCE(r.state, ''), COALESCE(r.sync_state, ''),
				COALESCE(EXTRACT(EPOCH FROM r.replay_lag), 0)::double precision,
				COALESCE(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn), 0)::bigint
			FROM pg_catalog.pg_stat_replication AS r
			ORDER BY 4 DESC`)
		return err
	})
	switch {
	case err != nil:
		return Check{}, err
	case standby:
		return skipped("this is a standby"), nil
	case len(replicas) == 0 && synchronous == "":
		return fine("no replicas"), nil
	}
	return judgeReplicas(replicas, synchronous), nil
}

func judgeReplicas(replicas []replica, synchronous string) Check {
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
			so("bring the replica back, or commit without it", psql("ALTER SYSTEM RESET synchronous_standby_names"),
				" && "+psql("SELECT pg_reload_conf()"))
	case len(details) > 0:
		return warn("%s behind", operate.Plural(len(details), "replica is", "replicas are")).with(details).
			so("check the replica's load and network: it has this much less data if you fail over to it now")
	}
	return fine("%s up to date", operate.Plural(len(replicas), "replica is", "replicas are"))
}
