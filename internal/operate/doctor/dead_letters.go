package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

func (e *examination) deadLetters(ctx context.Context, tx pgx.Tx) (Check, error) {
	counts, err := status.DeadLetterCounts(ctx, tx)
	if err != nil || len(counts) == 0 {
		return fine("no dead letters"), err
	}
	var total operate.Count
	details := lines(counts, func(c status.DeadLetterCount) string {
		total = operate.Count{N: total.N + c.N, More: total.More || c.More}
		return fmt.Sprintf("%s: %s", c.Status, c.Count)
	})
	return warn("%s ended as dead letters", total.Of("event", "events")).with(details).
		so("see why, fix the cause, then retry them: iuworker dead-letters retry --status STATUS", "iuworker dead-letters list"), nil
}
