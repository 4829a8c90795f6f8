package doctor

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
)

func (e *examination) outbox(ctx context.Context) (Check, error) {
	row, err := e.lingering(ctx, `
		SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1`)
	if err != nil || row == nil {
		return fine("no row has waited for long"), err
	}
	return late(row.Seconds, fmt.Sprintf("row %d has waited in the outbox for %s, and the relay does not take it", row.ID, operate.Lasted(row.Seconds))).
		so(restart+"; the relay skips rows that another session has locked", "iuworker status"), nil
}

func (e *examination) emissions(ctx context.Context) (Check, error) {
	row, err := e.lingering(ctx, `
		SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1`)
	if err != nil || row == nil {
		return fine("no emission has waited for long"), err
	}
	return late(row.Seconds, fmt.Sprintf("emission %d has waited to be announced for %s", row.ID, operate.Lasted(row.Seconds))).
		so(restart+"; see also the check event type", "iuworker status"), nil
}
