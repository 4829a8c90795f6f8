package doctor

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
)

// How long things may take that take moments while all is well, in seconds.
const (
	slow  = 10.0
	stuck = 60.0
)

const restart = "check that a worker is alive, and read its log"

// again is how long to wait before reading again what looks stuck: a transaction that has just committed shows rows as old
// as itself.
const again = 1200 * time.Millisecond

// oldest is the oldest row of a table whose rows should be gone in moments.
type oldest struct {
	ID      int64
	Seconds float64
}

// lingering returns the oldest row that a statement finds; nil if there is none, if it is young, or if another one is the
// oldest when it reads again.
func lingering(ctx context.Context, tx pgx.Tx, sql string) (*oldest, error) {
	first, err := structs[oldest](ctx, tx, sql)
	if err != nil || len(first) == 0 || first[0].Seconds < slow {
		return nil, err
	}
	if !retry.Pause(ctx, again) {
		return nil, ctx.Err()
	}
	second, err := structs[oldest](ctx, tx, sql)
	if err != nil || len(second) == 0 || second[0].ID != first[0].ID {
		return nil, err
	}
	return &second[0], nil
}

func (e *examination) outbox(ctx context.Context, tx pgx.Tx) (Check, error) {
	row, err := lingering(ctx, tx, `
		SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1`)
	if err != nil || row == nil {
		return fine("no row has waited for long"), err
	}
	return wrong(row.Seconds >= stuck, "row %d has waited in the outbox for %s, and the relay does not take it", row.ID, operate.Lasted(row.Seconds)).
		so(restart+"; the relay skips rows that another session has locked", "iuworker status"), nil
}

func (e *examination) emissions(ctx context.Context, tx pgx.Tx) (Check, error) {
	row, err := lingering(ctx, tx, `
		SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1`)
	if err != nil || row == nil {
		return fine("no emission has waited for long"), err
	}
	return wrong(row.Seconds >= stuck, "emission %d has waited to be announced for %s", row.ID, operate.Lasted(row.Seconds)).
		so(restart+"; see also the check event type", "iuworker status"), nil
}
