package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
)

// parked jobs must run again at once when their gate opens.
func (e *examination) parked(ctx context.Context) (Check, error) {
	overlooked := func() (found []operate.ParkedCount, err error) {
		err = e.read(ctx, func(tx pgx.Tx) error {
			found, err = operate.Collect(ctx, tx, func(row pgx.CollectableRow) (count operate.ParkedCount, err error) {
				var n int64
				err = row.Scan(&count.Gate, &n)
				count.Count = operate.Counted(n)
				return count, err
			}, `
				SELECT g.gate, n.n
				FROM iu_outbox.gate_status() AS g
				CROSS JOIN LATERAL (
					SELECT pg_catalog.count(*) AS n FROM (SELECT FROM iu_outbox.parked_jobs(g.gate) LIMIT $1) AS j) AS n
				WHERE g.open AND iu_outbox.gate_open('iu_core.composer_enabled') AND n.n > 0
				  AND COALESCE(g.updated_at, '-infinity') < pg_catalog.clock_timestamp() - interval '10 seconds'`, operate.CountLimit+1)
			return err
		})
		return found, err
	}
	found, err := overlooked()
	if err != nil || len(found) == 0 {
		return fine("no job is parked behind an open gate"), err
	}
	if !retry.Pause(ctx, 2*again) { // longer than a sweep
		return Check{}, ctx.Err()
	}
	later, err := overlooked()
	if err != nil {
		return Check{}, err
	}
	for i := range min(len(found), len(later)) {
		if found[i].Gate == later[i].Gate && later[i].N >= found[i].N {
			return failed("%s parked for the gate %s, which is open, and their number does not fall",
				later[i].Of("job is", "jobs are"), later[i].Gate).
				so("workers resume them every two seconds: "+restart, "iuworker status"), nil
		}
	}
	return fine("parked jobs whose gate is open are being resumed"), nil
}
