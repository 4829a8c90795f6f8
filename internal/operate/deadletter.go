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

// Moved says what became of the dead letters that were chosen.
type Moved struct {
	Done int `json:"done"`
	Left int `json:"left"` // the outbox refuses their events, or somebody else has them
}

// Retry puts the chosen dead letters back into the outbox, and returns how many, also if it fails
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
	var last, after int64
	err = q.QueryRow(ctx, `SELECT COALESCE(pg_catalog.max(d.id), 0) FROM iu_outbox.dead_letter AS d`).Scan(&last)
	if err != nil {
		return moved, fmt.Errorf("look for dead letters: %w", err)
	}
	for {
		var ids []int64
		where, args := choice.where(after, last, deadLetterBatch)
		err := q.QueryRow(ctx, `
			SELECT ARRAY(
				SELECT d.id FROM iu_outbox.dead_letter AS d
				WHERE d.id > $1 AND d.id <= $2 AND `+where+`
				ORDER BY d.id LIMIT $3)`, args...).Scan(&ids)
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
	s.Describe(detail)
	return detail
}

// Describe adds to the detail of an audit line how its dead letters were chosen.
func (s Selection) Describe(detail map[string]any) {
	for name, value := range map[string]string{"status": s.Status, "actor_filter": s.Actor, "event_type": s.EventType} {
		if value != "" {
			detail[name] = value
		}
	}
	for name, id := range map[string]uuid.UUID{"event_id": s.EventID, "template_id": s.Template} {
		if id != uuid.Nil {
			detail[name] = id
		}
	}
	for name, at := range map[string]time.Time{"since": s.Since, "until": s.Until} {
		if !at.IsZero() {
			detail[name] = at.UTC().Format(time.RFC3339)
		}
	}
}
