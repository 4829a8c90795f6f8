package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

func (e *examination) deadLetters(ctx context.Context) (Check, error) {
	var letters []operate.DeadLetterCount
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		letters, err = operate.DeadLetterCounts(ctx, tx)
		return err
	})
	if err != nil || len(letters) == 0 {
		return fine("no dead letters"), err
	}
	var details []string
	total := operate.Count{}
	for _, count := range letters {
		details = append(details, fmt.Sprintf("%s: %s", count.Status, count.Count))
		total = operate.Count{N: total.N + count.N, More: total.More || count.More}
	}
	return warn("%s ended as dead letters", total.Of("event", "events")).with(details).
		so("see why, fix the cause, then retry them: iuworker dead-letters retry --status STATUS", "iuworker dead-letters list"), nil
}
