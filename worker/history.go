package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
)

// historyAfter is how long after its end a minute is written; iu_outbox.write_history waits for it as well.
const historyAfter = 5*time.Second + 200*time.Millisecond

// Historian writes the row of each minute into the history. All workers try; the first one does it.
type Historian struct {
	pool   *pgxpool.Pool
	now    func() time.Time // the server's
	outage *retry.Outage
}

// Run writes what is missing, then each minute as it ends, until ctx ends.
func (h *Historian) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := h.round(ctx); err == nil {
			h.outage.Worked(ctx)
		} else if ctx.Err() == nil {
			h.outage.Failed(ctx, err)
		}
		since := h.now().Add(-historyAfter)
		retry.Pause(ctx, since.Truncate(time.Minute).Add(time.Minute).Sub(since))
	}
	return nil
}

func (h *Historian) round(ctx context.Context) error {
	for ctx.Err() == nil {
		var written *time.Time
		if err := h.pool.QueryRow(ctx, "SELECT iu_outbox.write_history()").Scan(&written); err != nil {
			return fmt.Errorf("write the history: %w", err)
		}
		if written == nil {
			break
		}
	}
	return nil
}
