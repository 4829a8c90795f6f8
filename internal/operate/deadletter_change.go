package operate

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Letters chooses the dead letters of a change.
type Letters struct {
	// IDs are the ids of the dead letters. Default: all that Filter chooses.
	IDs []int64

	// Filter chooses dead letters. With IDs, it only tells the audit line how the letters were found.
	Filter Selection

	// Limit is the most that are changed, oldest first, in a single transaction. Default 0: all, in transactions of a thousand.
	Limit int
}

// Moved is the result of a change of dead letters.
type Moved struct {
	Done int `json:"done"`
	Left int `json:"left"` // the outbox refuses their events, or another session has locked them
}

// RetryDeadLetters puts dead letters back into the outbox. A letter whose event the outbox refuses stays. An event that fails again
// meanwhile is not retried a second time. If more than most are chosen, it returns a NotAsSeenError.
func (o Operator) RetryDeadLetters(ctx context.Context, which Letters, most int64) (Moved, error) {
	return o.moveLetters(ctx, "dead_letter.retry", which, most, retrySQL)
}

// DropDeadLetters deletes dead letters permanently. If more than most are chosen, it returns a NotAsSeenError.
func (o Operator) DropDeadLetters(ctx context.Context, which Letters, most int64) (Moved, error) {
	return o.moveLetters(ctx, "dead_letter.drop", which, most, dropSQL)
}

func (o Operator) moveLetters(ctx context.Context, action string, which Letters, most int64, sql string) (moved Moved, err error) {
	chosen := which.IDs
	if len(chosen) == 0 {
		where := which.Filter.where(which.Limit)
		chosen, err = Collect(ctx, o.Pool, pgx.RowTo[int64], `
			SELECT d.id FROM iu_outbox.dead_letter AS d WHERE `+where.String()+` ORDER BY d.id LIMIT NULLIF($1::bigint, 0)`, where.args...)
		if err != nil {
			return moved, fmt.Errorf("choose dead letters: %w", err)
		}
	}
	if now := int64(len(chosen)); now > most {
		return moved, &NotAsSeenError{now, fmt.Sprintf("there are %d dead letters now, not %d", now, most)}
	}
	for ids := range slices.Chunk(chosen, cmp.Or(which.Limit, changedAtOnce)) {
		n, err := o.changeRows(ctx, action, sql, ids, func(_ pgx.Tx, n int) (any, error) {
			return lettersChanged{which.Filter, ids, n}, nil
		})
		if err != nil {
			return moved, fmt.Errorf("%d of %d changed, then: %w", moved.Done, len(chosen), err)
		}
		moved.Done += n
		moved.Left += len(ids) - n
	}
	return moved, nil
}

// lettersChanged is the detail of an audit line: how dead letters were chosen, which ones these were, and how many changed.
type lettersChanged struct {
	Selection

	IDs   []int64 `json:"ids"`
	Count int     `json:"count"`
}
