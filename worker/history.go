package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

// historyAfter is how long after its end a minute is written; iu_outbox.write_history waits, too.
const historyAfter = 5*time.Second + 200*time.Millisecond

// historian writes one row per minute into the history. All workers try; the first one succeeds.
type historian struct {
	tools

	now func() time.Time // the server's
}

// run writes the minutes that are missing, then each minute as it ends, until ctx ends.
func (h *historian) run(ctx context.Context) error {
	untilNext := func(ctx context.Context) {
		since := h.now().Add(-historyAfter)
		retry.Pause(ctx, since.Truncate(time.Minute).Add(time.Minute).Sub(since))
	}
	return h.repeat(ctx, untilNext, h.round)
}

func (h *historian) round(ctx context.Context) error {
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
