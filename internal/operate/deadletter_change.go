package operate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Letters says which dead letters a change takes.
type Letters struct {
	// IDs are the ones to take. Default: all that Filter chooses.
	IDs []int64

	// Filter chooses dead letters. With IDs, it only tells the audit line how they were found.
	Filter Selection

	// Limit takes the oldest ones only, in a single transaction. Default 0: all, in transactions of a thousand.
	Limit int
}

// Moved says what became of the dead letters that were chosen.
type Moved struct {
	Done int `json:"done"`
	Left int `json:"left"` // the outbox refuses their events, or another session has locked them
}

// RetryDeadLetters puts dead letters back into the outbox. Those whose events the outbox refuses stay. Those that become dead
// letters again meanwhile are not retried again. If more than most are chosen, it returns a NotAsSeenError.
func (o Operator) RetryDeadLetters(ctx context.Context, which Letters, most int64) (Moved, error) {
	return o.moveLetters(ctx, "dead_letter.retry", which, most, retrySQL)
}

// DropDeadLetters deletes dead letters permanently. If more than most are chosen, it returns a NotAsSeenError.
func (o Operator) DropDeadLetters(ctx context.Context, which Letters, most int64) (Moved, error) {
	return o.moveLetters(ctx, "dead_letter.drop", which, most, dropSQL)
}

func (o Operator) moveLetters(ctx context.Context, action string, which Letters, most int64, sql string) (moved Moved, err error) {
	ids, err := which.choose(ctx, o.Pool)
	if err != nil {
		return moved, err
	}
	if now := int64(len(ids)); now > most {
		return moved, &NotAsSeenError{now, fmt.Sprintf("there are %d dead letters now, not %d", now, most)}
	}
	for ids := range slices.Chunk(ids, cmp.Or(which.Limit, changedAtOnce)) {
		n, err := o.changeRows(ctx, action, which.detail(ids), sql, ids)
		if err != nil {
			return moved, err
		}
		moved.Done += n
		moved.Left += len(ids) - n
	}
	return moved, nil
}

// choose returns the ids of dead letters to take, the oldest first.
func (l Letters) choose(ctx context.Context, q Querier) ([]int64, error) {
	if len(l.IDs) > 0 {
		return l.IDs, nil
	}
	where, args := l.Filter.where(l.Limit)
	rows, err := q.Query(ctx, "SELECT d.id FROM iu_outbox.dead_letter AS d WHERE "+where+" ORDER BY d.id LIMIT NULLIF($1::bigint, 0)", args...)
	if err != nil {
		return nil, fmt.Errorf("choose dead letters: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("choose dead letters: %w", err)
	}
	return ids, nil
}

// detail is what an audit line says of which dead letters were chosen, and how.
func (l Letters) detail(ids []int64) map[string]any {
	detail := map[string]any{"ids": ids}
	for name, value := range map[string]string{"status": l.Filter.Status, "actor_filter": l.Filter.Actor, "event_type": l.Filter.EventType} {
		if value != "" {
			detail[name] = value
		}
	}
	for name, id := range map[string]uuid.UUID{"event_id": l.Filter.EventID, "template_id": l.Filter.Template} {
		if id != uuid.Nil {
			detail[name] = id
		}
	}
	for name, at := range map[string]time.Time{"since": l.Filter.Since, "until": l.Filter.Until} {
		if !at.IsZero() {
			detail[name] = at.UTC().Format(time.RFC3339)
		}
	}
	return detail
}
