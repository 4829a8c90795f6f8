package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

// How long things may take that take moments while all is well, in seconds.
const (
	slow    = 10.0
	stuck   = 60.0
	restart = "check that a worker is alive, and read its log"
)

// again is how long to wait before a thing that looks stuck is looked at again: a transaction that has just committed
// shows rows as old as itself.
const again = 1200 * time.Millisecond

// oldest is the oldest row of what should be gone in moments.
type oldest struct {
	ID      int64
	Seconds float64
}

// lingering returns the oldest row that a statement finds; nil if there is none, it is young, or it is gone by a
// second look.
func (e *examination) lingering(ctx context.Context, sql string, args ...any) (*oldest, error) {
	var first, second oldest
	err := e.row(ctx, []any{&first.ID, &first.Seconds}, sql, args...)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && first.Seconds < slow {
		return nil, nil //nolint:nilnil // none, which is no error
	}
	if err != nil {
		return nil, err
	}
	if !retry.Pause(ctx, again) {
		return nil, ctx.Err()
	}
	err = e.row(ctx, []any{&second.ID, &second.Seconds}, sql, args...)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && second.ID != first.ID {
		return nil, nil //nolint:nilnil // none, which is no error
	}
	return &second, err
}

// late judges how long something has been waiting.
func late(seconds float64, says string) Check {
	if seconds < stuck {
		return warn("%s", says)
	}
	return failed("%s", says)
}
