package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// installation tells what holds events back that they have no part in.
func (e *examination) installation(ctx context.Context) (Check, error) {
	var held []operate.HeldCount
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		held, err = operate.ReadHeld(ctx, tx)
		return err
	})
	if err != nil || len(held) == 0 {
		return fine("no event is held back"), err
	}
	details := make([]string, len(held))
	for i, h := range held {
		details[i] = fmt.Sprintf("%s jobs: %s", h.Count, h.Reason)
	}
	return failed("events are held back by a fault of the installation; they use no attempt").with(details).
		so("fix the cause as described above; the events run again within seconds", "iuworker status"), nil
}
