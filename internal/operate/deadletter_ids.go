package operate

import (
	"context"
	"fmt"
)

// ChooseDeadLetters returns the ids of up to limit dead letters that are chosen, oldest first.
func ChooseDeadLetters(ctx context.Context, q Querier, choice Selection, limit int) ([]int64, error) {
	var ids []int64
	where, args := choice.where(limit)
	err := q.QueryRow(ctx, `
		SELECT ARRAY(SELECT d.id FROM iu_outbox.dead_letter AS d WHERE `+where+` ORDER BY d.id LIMIT $1)`, args...).Scan(&ids)
	if err != nil {
		return nil, fmt.Errorf("choose dead letters: %w", err)
	}
	return ids, nil
}

// RetryIDs puts these dead letters back into the outbox, and returns how many: those that somebody else has, and those
// whose event the outbox refuses, stay.
func RetryIDs(ctx context.Context, q Querier, ids []int64) (n int, err error) {
	if err = q.QueryRow(ctx, "SELECT iu_outbox.retry_dead_letters($1::bigint[])", ids).Scan(&n); err != nil {
		return 0, fmt.Errorf("retry dead letters: %w", err)
	}
	return n, nil
}

// DropIDs deletes these dead letters permanently, and returns how many.
func DropIDs(ctx context.Context, q Querier, ids []int64) (n int, err error) {
	if err = q.QueryRow(ctx, "SELECT iu_outbox.drop_dead_letters($1::bigint[])", ids).Scan(&n); err != nil {
		return 0, fmt.Errorf("drop dead letters: %w", err)
	}
	return n, nil
}
