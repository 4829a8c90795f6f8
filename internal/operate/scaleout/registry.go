package scaleout

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// register makes the scale-out known, or known again.
func (cfg Config) register(ctx context.Context) error {
	_, err := cfg.Pool.Exec(ctx, `
		INSERT INTO iu_outbox.scaleout AS s (prefix, template_collection_id, emit_mode, actor, started_by, total)
		VALUES ($1, $2::text::uuid, $3, $4, COALESCE(NULLIF($5, ''), SESSION_USER), $6)
		ON CONFLICT (prefix) DO UPDATE
		SET template_collection_id = EXCLUDED.template_collection_id, emit_mode = EXCLUDED.emit_mode, actor = EXCLUDED.actor,
			started_by = EXCLUDED.started_by, total = GREATEST(s.total, EXCLUDED.total), counted = 0, cancelled = 0,
			started_at = EXCLUDED.started_at, enqueued_at = EXCLUDED.enqueued_at, finished_at = NULL`,
		cfg.Prefix, cfg.Template.String(), cfg.EmitMode, cfg.Actor, cfg.By, cfg.Count)
	if err != nil {
		return fmt.Errorf("note the scale-out %q: %w", cfg.Prefix, err)
	}
	return nil
}

// noteEnqueued notes that the numbers 1 to n have jobs, or had them.
func (cfg Config) noteEnqueued(ctx context.Context, n int) error {
	_, err := cfg.Pool.Exec(ctx, `
		UPDATE iu_outbox.scaleout AS s SET enqueued = GREATEST(s.enqueued, $2), enqueued_at = pg_catalog.now() WHERE s.prefix = $1`,
		cfg.Prefix, n)
	if err != nil {
		return fmt.Errorf("note how far the scale-out %q is: %w", cfg.Prefix, err)
	}
	return nil
}

func noteCancelled(ctx context.Context, q operate.Querier, prefix string, n int) error {
	_, err := q.Exec(ctx, "UPDATE iu_outbox.scaleout AS s SET cancelled = s.cancelled + $2 WHERE s.prefix = $1", prefix, n)
	if err != nil {
		return fmt.Errorf("note what was cancelled of the scale-out %q: %w", prefix, err)
	}
	return nil
}

// noteFinished notes that no number of a scale-out waits any more.
func noteFinished(ctx context.Context, q operate.Querier, prefix string) error {
	_, err := q.Exec(ctx, `
		UPDATE iu_outbox.scaleout AS s SET counted = s.enqueued, finished_at = pg_catalog.now()
		WHERE s.prefix = $1 AND s.finished_at IS NULL`, prefix)
	if err != nil {
		return fmt.Errorf("note that the scale-out %q is finished: %w", prefix, err)
	}
	return nil
}

// noteCounted notes that of the numbers 1 to counted none has a job, unless the scale-out was started again meanwhile.
func noteCounted(ctx context.Context, q operate.Querier, line Line, finished bool) error {
	_, err := q.Exec(ctx, `
		UPDATE iu_outbox.scaleout AS s
		SET counted = $2, finished_at = CASE WHEN $3 THEN pg_catalog.now() END
		WHERE s.prefix = $1 AND s.started_at = $4 AND s.counted <= $2 AND s.finished_at IS NULL`,
		line.Prefix, line.counted, finished, line.StartedAt)
	if err != nil {
		return fmt.Errorf("note how far the scale-out %q is: %w", line.Prefix, err)
	}
	return nil
}

// Prefixes returns the prefixes that begin with a text, for completion.
func Prefixes(ctx context.Context, q operate.Querier, text string, limit int) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT s.prefix FROM iu_outbox.scaleout AS s WHERE pg_catalog.starts_with(s.prefix, $1) ORDER BY s.prefix LIMIT $2`, text, limit)
	if err != nil {
		return nil, fmt.Errorf("list scale-outs: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
