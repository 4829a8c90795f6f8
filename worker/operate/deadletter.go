package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
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

// Retry puts the dead letters that are chosen now back into the outbox, and answers how many, also where it fails
// half-way. Those that become dead letters again meanwhile are left for the next time.
func Retry(ctx context.Context, q Querier, choice Selection) (int, error) {
	return inBatches(ctx, q, choice, "retry", "SELECT iu_outbox.retry_dead_letters($1, $2, $3)")
}

// Drop deletes the dead letters that are chosen now for good, and answers how many, also where it fails half-way.
func Drop(ctx context.Context, q Querier, choice Selection) (int, error) {
	return inBatches(ctx, q, choice, "drop", "SELECT iu_outbox.drop_dead_letters($1, $2, $3)")
}

// inBatches works on as many as there were when it began. The oldest go first, so those that come meanwhile stay.
func inBatches(ctx context.Context, q Querier, choice Selection, what, sql string) (int, error) {
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
		var n int
		err := q.QueryRow(ctx, sql, status, event, min(deadLetterBatch, total-done)).Scan(&n)
		if err != nil {
			return done, fmt.Errorf("%s dead letters: %w", what, err)
		}
		if n == 0 {
			break // somebody else has the rest
		}
		done += n
	}
	return done, nil
}
