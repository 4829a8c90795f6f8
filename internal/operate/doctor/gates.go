package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
)

func (e *examination) gates(ctx context.Context, tx pgx.Tx) (Check, error) {
	gates, err := operate.Gates(ctx, tx)
	closed := slices.DeleteFunc(gates, func(g operate.Gate) bool { return g.Open })
	if err != nil || len(closed) == 0 {
		return fine("both are open"), err
	}
	details := lines(closed, func(g operate.Gate) string {
		detail := fmt.Sprintf("%s (%s)", g.Gate, g.Key)
		if g.UpdatedBy != nil && g.UpdatedAt != nil {
			detail += fmt.Sprintf(", by %s at %s", *g.UpdatedBy, g.UpdatedAt.UTC().Format("2006-01-02 15:04:05Z"))
		}
		return detail
	})
	wayOut := "open them unless they were closed deliberately"
	if len(closed) == 1 {
		wayOut = "open it unless it was closed deliberately"
	}
	return warn("%s closed; jobs are parked (nothing is lost)", operate.Plural(len(closed), "gate is", "gates are")).with(details).
		so(wayOut, lines(closed, func(g operate.Gate) string { return g.Gate.OpenCommand() })...), nil
}

// overlooked is how many jobs are parked behind an open gate.
type overlooked struct {
	Gate compose.Gate
	Jobs int64
}

const overlookedSQL = `
		SELECT g.gate, n.n
		FROM iu_outbox.gate_status() AS g
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) AS n FROM (SELECT FROM iu_outbox.parked_jobs(g.gate) LIMIT $1) AS j) AS n
		WHERE g.open AND iu_outbox.gate_open('iu_core.composer_enabled') AND n.n > 0
		  AND COALESCE(g.updated_at, '-infinity') < pg_catalog.clock_timestamp() - interval '10 seconds'`

// parked checks that parked jobs run again when their gate opens.
func (e *examination) parked(ctx context.Context, tx pgx.Tx) (Check, error) {
	found, err := structs[overlooked](ctx, tx, overlookedSQL, operate.CountLimit+1)
	if err != nil || len(found) == 0 {
		return fine("no job is parked behind an open gate"), err
	}
	if !retry.Pause(ctx, 2*again) { // longer than a sweep
		return Check{}, ctx.Err()
	}
	later, err := structs[overlooked](ctx, tx, overlookedSQL, operate.CountLimit+1)
	for i := range min(len(found), len(later)) {
		if found[i].Gate == later[i].Gate && later[i].Jobs >= found[i].Jobs {
			return failed("%s parked for the gate %s, which is open, and their number does not fall",
				operate.Counted(later[i].Jobs).Of("job is", "jobs are"), later[i].Gate).
				so("workers resume them every two seconds: "+restart, "iuworker status"), nil
		}
	}
	return fine("parked jobs whose gate is open are being resumed"), err
}
