package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// deadLetterBatch is how many dead letters one transaction takes.
const deadLetterBatch = 1000

// DeadLetter is an event that ended without an instance.
type DeadLetter struct {
	ID             int64           `json:"id"`
	JobID          int64           `json:"job_id"`
	Status         string          `json:"status"`
	Detail         *string         `json:"detail"`
	EventID        *uuid.UUID      `json:"event_id"`
	IdempotencyKey *string         `json:"idempotency_key"`
	Event          json.RawMessage `json:"event"`
	Queue          string          `json:"queue"`
	Attempts       int             `json:"attempts"`
	CreatedAt      time.Time       `json:"created_at"`
}

// Selection chooses dead letters; its zero value chooses all.
type Selection struct {
	Status  string    // "" means any
	EventID uuid.UUID // zero means any
}

func (s Selection) args() (status *string, event *uuid.UUID) {
	if s.Status != "" {
		status = &s.Status
	}
	if s.EventID != uuid.Nil {
		event = &s.EventID
	}
	return status, event
}

// DeadLetters answers up to limit dead letters with an id above after, oldest first.
func DeadLetters(ctx context.Context, q Querier, choice Selection, after int64, limit int) ([]DeadLetter, error) {
	status, event := choice.args()
	rows, err := q.Query(ctx, `
		SELECT d.id, d.job_id, d.status, d.detail, d.event_id, d.idempotency_key, d.event, d.queue, d.attempts, d.created_at
		FROM iu_outbox.dead_letter AS d
		WHERE ($1::text IS NULL OR d.status = $1) AND ($2::uuid IS NULL OR d.event_id = $2) AND d.id > $3
		ORDER BY d.id
		LIMIT $4`, status, event, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	letters, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DeadLetter])
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return letters, nil
}

// CountDeadLetters returns how many dead letters are chosen.
func CountDeadLetters(ctx context.Context, q Querier, choice Selection) (n int64, err error) {
	status, event := choice.args()
	err = q.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM iu_outbox.dead_letter AS d
		WHERE ($1::text IS NULL OR d.status = $1) AND ($2::uuid IS NULL OR d.event_id = $2)`, status, event).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// RetryBatch puts up to limit dead letters back into the outbox, oldest first, and answers how many. Those whose event
// the outbox refuses stay.
func RetryBatch(ctx context.Context, q Querier, choice Selection, limit int) (n int, err error) {
	status, event := choice.args()
	if err := q.QueryRow(ctx, "SELECT iu_outbox.retry_dead_letters($1, $2, $3)", status, event, limit).Scan(&n); err != nil {
		return 0, fmt.Errorf("retry dead letters: %w", err)
	}
	return n, nil
}

// Moved says what became of the dead letters that were chosen.
type Moved struct {
	Done int `json:"done"`
	Left int `json:"left"` // the outbox refuses their events, or somebody else has them
}

// Retry puts the dead letters that are chosen now back into the outbox, and answers how many, also where it fails
// half-way. Those that become dead letters again meanwhile are left for the next time.
func Retry(ctx context.Context, q Querier, choice Selection) (int, error) {
	moved, err := inBatches(ctx, q, choice, func(ids []int64) (int, error) { return RetryIDs(ctx, q, ids) })
	return moved.Done, err
}

// RetryAs is Retry with an audit line in the actor's name in each transaction, a thousand dead letters each.
func RetryAs(ctx context.Context, pool *pgxpool.Pool, actor string, choice Selection) (Moved, error) {
	return inBatches(ctx, pool, choice, audited(ctx, pool, actor, "dead_letter.retry", choice, RetryIDs))
}

// DropAs deletes the dead letters that are chosen now for good; everything else as in RetryAs.
func DropAs(ctx context.Context, pool *pgxpool.Pool, actor string, choice Selection) (Moved, error) {
	return inBatches(ctx, pool, choice, audited(ctx, pool, actor, "dead_letter.drop", choice, DropIDs))
}

func audited(ctx context.Context, pool *pgxpool.Pool, actor, action string, choice Selection,
	take func(ctx context.Context, q Querier, ids []int64) (int, error),
) func([]int64) (int, error) {
	return func(ids []int64) (n int, err error) {
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if n, err = take(ctx, tx, ids); err != nil || n == 0 {
				return err
			}
			_, err = RecordAudit(ctx, tx, actor, action, choice.detail(n))
			return err
		})
		return n, err
	}
}

// inBatches goes once through those that there were when it began: their ids are below those of whatever comes later.
func inBatches(ctx context.Context, q Querier, choice Selection, take func(ids []int64) (int, error)) (moved Moved, err error) {
	status, event := choice.args()
	var last, after int64
	err = q.QueryRow(ctx, `
		SELECT COALESCE(pg_catalog.max(d.id), 0) FROM iu_outbox.dead_letter AS d
		WHERE ($1::text IS NULL OR d.status = $1) AND ($2::uuid IS NULL OR d.event_id = $2)`, status, event).Scan(&last)
	if err != nil {
		return moved, fmt.Errorf("look for dead letters: %w", err)
	}
	for {
		var ids []int64
		err := q.QueryRow(ctx, `
			SELECT ARRAY(
				SELECT d.id FROM iu_outbox.dead_letter AS d
				WHERE ($1::text IS NULL OR d.status = $1) AND ($2::uuid IS NULL OR d.event_id = $2) AND d.id > $3 AND d.id <= $4
				ORDER BY d.id LIMIT $5)`, status, event, after, last, deadLetterBatch).Scan(&ids)
		if err != nil {
			return moved, fmt.Errorf("choose dead letters: %w", err)
		}
		if len(ids) == 0 {
			return moved, nil
		}
		n, err := take(ids)
		if err != nil {
			return moved, err
		}
		moved.Done += n
		moved.Left += len(ids) - n
		after = ids[len(ids)-1]
	}
}

func (s Selection) detail(n int) map[string]any {
	detail := map[string]any{"count": n}
	if s.Status != "" {
		detail["status"] = s.Status
	}
	if s.EventID != uuid.Nil {
		detail["event_id"] = s.EventID
	}
	return detail
}
