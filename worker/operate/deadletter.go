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

// RetryBatch puts up to limit dead letters back into the outbox, oldest first, and answers how many.
func RetryBatch(ctx context.Context, q Querier, choice Selection, limit int) (int, error) {
	return batch(ctx, q, "retry", "SELECT iu_outbox.retry_dead_letters($1, $2, $3)", choice, limit)
}

// DropBatch deletes up to limit dead letters for good, oldest first, and answers how many.
func DropBatch(ctx context.Context, q Querier, choice Selection, limit int) (int, error) {
	return batch(ctx, q, "drop", "SELECT iu_outbox.drop_dead_letters($1, $2, $3)", choice, limit)
}

func batch(ctx context.Context, q Querier, what, sql string, choice Selection, limit int) (n int, err error) {
	status, event := choice.args()
	if err := q.QueryRow(ctx, sql, status, event, limit).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s dead letters: %w", what, err)
	}
	return n, nil
}

// Retry puts the dead letters that are chosen now back into the outbox, and answers how many, also where it fails
// half-way. Those that become dead letters again meanwhile are left for the next time.
func Retry(ctx context.Context, q Querier, choice Selection) (int, error) {
	return inBatches(ctx, q, choice, func(limit int) (int, error) { return RetryBatch(ctx, q, choice, limit) })
}

// Drop deletes the dead letters that are chosen now for good, and answers how many, also where it fails half-way.
func Drop(ctx context.Context, q Querier, choice Selection) (int, error) {
	return inBatches(ctx, q, choice, func(limit int) (int, error) { return DropBatch(ctx, q, choice, limit) })
}

// RetryAs is Retry with an audit line in the actor's name in each transaction.
func RetryAs(ctx context.Context, pool *pgxpool.Pool, actor string, choice Selection) (int, error) {
	return inBatches(ctx, pool, choice, audited(ctx, pool, actor, "dead_letter.retry", choice, RetryBatch))
}

// DropAs is Drop with an audit line in the actor's name in each transaction.
func DropAs(ctx context.Context, pool *pgxpool.Pool, actor string, choice Selection) (int, error) {
	return inBatches(ctx, pool, choice, audited(ctx, pool, actor, "dead_letter.drop", choice, DropBatch))
}

type batchFunc func(ctx context.Context, q Querier, choice Selection, limit int) (int, error)

func audited(ctx context.Context, pool *pgxpool.Pool, actor, action string, choice Selection, take batchFunc) func(int) (int, error) {
	return func(limit int) (n int, err error) {
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if n, err = take(ctx, tx, choice, limit); err != nil || n == 0 {
				return err
			}
			_, err = RecordAudit(ctx, tx, actor, action, choice.detail(n))
			return err
		})
		return n, err
	}
}

// inBatches works on as many as there were when it began. The oldest go first, so those that come meanwhile stay.
func inBatches(ctx context.Context, q Querier, choice Selection, take func(limit int) (int, error)) (int, error) {
	status, event := choice.args()
	var total int
	err := q.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM iu_outbox.dead_letter AS d
		WHERE ($1::text IS NULL OR d.status = $1) AND ($2::uuid IS NULL OR d.event_id = $2)`, status, event).Scan(&total)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	var done int
	for done < total {
		n, err := take(min(deadLetterBatch, total-done))
		if err != nil {
			return done, err
		}
		if n == 0 {
			break // somebody else has the rest, or the outbox refuses them
		}
		done += n
	}
	return done, nil
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
