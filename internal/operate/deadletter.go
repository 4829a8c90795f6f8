package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

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
	TemplateKey    *string         `json:"template_key"` // nil if the collection does not exist
}

// Selection chooses dead letters; its zero value chooses all.
type Selection struct {
	Status         string    `json:"status,omitempty"`          // "" means any
	EventID        uuid.UUID `json:"event_id,omitzero"`         // zero means any
	IdempotencyKey string    `json:"idempotency_key,omitempty"` // "" means any
	Template       uuid.UUID `json:"template_id,omitzero"`      // zero means any
	Actor          string    `json:"actor_filter,omitempty"`    // "" means any
	EventType      string    `json:"event_type,omitempty"`      // "" means any
	Since          time.Time `json:"since,omitzero"`            // zero: from the first
	Until          time.Time `json:"until,omitzero"`            // zero: to the last
}

// where returns the condition on the rows of dead_letter AS d. Its arguments begin with args.
func (s Selection) where(args ...any) condition {
	which := condition{args: args}
	which.and(s.Status != "", "d.status = $%d", s.Status)
	which.and(s.EventID != uuid.Nil, "d.event_id = $%d::text::uuid", s.EventID.String())
	which.and(s.IdempotencyKey != "", "d.idempotency_key = $%d", s.IdempotencyKey)
	// These are the expressions of indexes.
	which.and(s.Template != uuid.Nil, "pg_catalog.left(d.event ->> 'template_collection_id', 36) = $%d", s.Template.String())
	which.and(s.Actor != "", "pg_catalog.left(d.event ->> 'actor', 200) = $%d", s.Actor)
	which.and(s.EventType != "", "pg_catalog.left(d.event ->> 'event_type', 200) = $%d", s.EventType)
	which.and(!s.Since.IsZero(), "d.created_at >= $%d", s.Since)
	which.and(!s.Until.IsZero(), "d.created_at < $%d", s.Until)
	return which
}

// DeadLetters returns up to limit dead letters with an id above after, oldest first.
func DeadLetters(ctx context.Context, q Querier, choice Selection, after int64, limit int) ([]DeadLetter, error) {
	which := choice.where(limit)
	which.and(after > 0, "d.id > $%d", after)
	return listDeadLetters(ctx, q, which, "ASC")
}

// IDPage is a part of a list whose latest entry comes first: up to Limit entries with an id below Before, or the nearest
// ones above After. 0 means no bound.
type IDPage struct {
	Before, After int64
	Limit         int
}

// LatestDeadLetters returns a page of dead letters, latest first.
func LatestDeadLetters(ctx context.Context, q Querier, choice Selection, page IDPage) ([]DeadLetter, error) {
	if page.After > 0 {
		letters, err := DeadLetters(ctx, q, choice, page.After, page.Limit)
		slices.Reverse(letters)
		return letters, err
	}
	which := choice.where(page.Limit)
	which.and(page.Before > 0, "d.id < $%d", page.Before)
	return listDeadLetters(ctx, q, which, "DESC")
}

func listDeadLetters(ctx context.Context, q Querier, which condition, order string) ([]DeadLetter, error) {
	letters, err := Collect(ctx, q, pgx.RowToStructByPos[DeadLetter], `
		SELECT d.id, d.job_id, d.status, d.detail, d.event_id, d.idempotency_key, d.event, d.queue, d.attempts, d.created_at, (
			SELECT c.collection_key FROM public.iu_piece_collection AS c
			WHERE c.id = iu_outbox.as_uuid(d.event ->> 'template_collection_id'))
		FROM iu_outbox.dead_letter AS d
		WHERE `+which.String()+` ORDER BY d.id `+order+` LIMIT $1`, which.args...)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return letters, nil
}

// CountDeadLetters returns how many dead letters the selection chooses.
func CountDeadLetters(ctx context.Context, q Querier, choice Selection) (int64, error) {
	count, err := CountDeadLettersUpTo(ctx, q, choice, math.MaxInt64-1)
	return count.N, err
}

// CountDeadLettersUpTo is like CountDeadLetters, but counts no more than most.
func CountDeadLettersUpTo(ctx context.Context, q Querier, choice Selection, most int64) (Count, error) {
	which := choice.where(most + 1)
	var n int64
	err := q.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.dead_letter AS d WHERE `+which.String()+` LIMIT $1) AS d`, which.args...).Scan(&n)
	if err != nil {
		return Count{}, fmt.Errorf("count dead letters: %w", err)
	}
	return Count{N: min(n, most), More: n > most}, nil
}
