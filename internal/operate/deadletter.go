package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// deadLetterColumns are the fields of a DeadLetter, of a row d of iu_outbox.dead_letter.
const deadLetterColumns = `d.id, d.job_id, d.status, d.detail, d.event_id, d.idempotency_key, d.event, d.queue, d.attempts, d.created_at, (
	SELECT c.collection_key FROM public.iu_piece_collection AS c
	WHERE c.id = CASE WHEN d.event ->> 'template_collection_id' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
	THEN (d.event ->> 'template_collection_id')::uuid END)`

// Selection chooses dead letters; its zero value chooses all.
type Selection struct {
	Status    string    // "" means any
	EventID   uuid.UUID // zero means any
	Template  uuid.UUID // zero means any
	Actor     string    // "" means any
	EventType string    // "" means any
	Since     time.Time // zero: from the first
	Until     time.Time // zero: to the last
}

// where returns the condition on the rows of dead_letter AS d, and its arguments, which follow the ones that are given.
func (s Selection) where(args ...any) (string, []any) {
	var conditions []string
	narrow := func(condition string, value any) {
		args = append(args, value)
		conditions = append(conditions, fmt.Sprintf(condition, len(args)))
	}
	if s.Status != "" {
		narrow("d.status = $%d", s.Status)
	}
	if s.EventID != uuid.Nil {
		narrow("d.event_id = $%d::text::uuid", s.EventID.String())
	}
	// These are the expressions of indexes.
	if s.Template != uuid.Nil {
		narrow("pg_catalog.left(d.event ->> 'template_collection_id', 36) = $%d", s.Template.String())
	}
	if s.Actor != "" {
		narrow("pg_catalog.left(d.event ->> 'actor', 200) = $%d", s.Actor)
	}
	if s.EventType != "" {
		narrow("pg_catalog.left(d.event ->> 'event_type', 200) = $%d", s.EventType)
	}
	if !s.Since.IsZero() {
		narrow("d.created_at >= $%d", s.Since)
	}
	if !s.Until.IsZero() {
		narrow("d.created_at < $%d", s.Until)
	}
	if len(conditions) == 0 {
		return "true", args
	}
	return strings.Join(conditions, " AND "), args
}

// DeadLetters returns up to limit dead letters with an id above after, oldest first.
func DeadLetters(ctx context.Context, q Querier, choice Selection, after int64, limit int) ([]DeadLetter, error) {
	where, args := choice.where(after, limit)
	return listDeadLetters(ctx, q, where+" AND d.id > $1 ORDER BY d.id LIMIT $2", args)
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
	where, args := choice.where(page.Before, page.Limit)
	return listDeadLetters(ctx, q, where+" AND ($1::bigint = 0 OR d.id < $1) ORDER BY d.id DESC LIMIT $2", args)
}

func listDeadLetters(ctx context.Context, q Querier, where string, args []any) ([]DeadLetter, error) {
	rows, err := q.Query(ctx, `
		SELECT `+deadLetterColumns+`
		FROM iu_outbox.dead_letter AS d
		WHERE `+where, args...)
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
	where, args := choice.where()
	err = q.QueryRow(ctx, `SELECT pg_catalog.count(*) FROM iu_outbox.dead_letter AS d WHERE `+where, args...).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// CountDeadLettersUpTo is CountDeadLetters that stops after most.
func CountDeadLettersUpTo(ctx context.Context, q Querier, choice Selection, most int) (count Count, err error) {
	where, args := choice.where(most + 1)
	var n int64
	err = q.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.dead_letter AS d WHERE `+where+` LIMIT $1) AS d`, args...).Scan(&n)
	if err != nil {
		return count, fmt.Errorf("count dead letters: %w", err)
	}
	return Count{N: min(n, int64(most)), More: n > int64(most)}, nil
}
