package scaleout

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// register stores the scale-out, which may have run before, and its audit line.
func (cfg Config) register(ctx context.Context) error {
	operator := operate.Operator{Pool: cfg.Pool, Actor: cfg.By}
	detail := map[string]any{"prefix": cfg.Prefix, "count": cfg.Count, "actor": cfg.Actor, "emit_mode": cfg.EmitMode}
	return operator.Change(ctx, "scaleout.start", detail, func(tx pgx.Tx) error {
		return note(ctx, tx, cfg.Prefix, `
			INSERT INTO iu_outbox.scaleout AS s (prefix, template_collection_id, emit_mode, actor, started_by, total)
			VALUES ($1, $2::text::uuid, $3, $4, $5, $6)
			ON CONFLICT (prefix) DO UPDATE
			SET template_collection_id = EXCLUDED.template_collection_id, emit_mode = EXCLUDED.emit_mode, actor = EXCLUDED.actor,
				started_by = EXCLUDED.started_by, total = GREATEST(s.total, EXCLUDED.total), counted = 0, cancelled = 0,
				started_at = EXCLUDED.started_at, enqueued_at = EXCLUDED.enqueued_at, finished_at = NULL`,
			cfg.Template.String(), cfg.EmitMode, cfg.Actor, cfg.By, cfg.Count)
	})
}

// The other changes of a scale-out's row.
const (
	// enqueuedSQL: the numbers 1 to $2 have jobs, or had them.
	enqueuedSQL = `
		UPDATE iu_outbox.scaleout AS s SET enqueued = GREATEST(s.enqueued, $2), enqueued_at = pg_catalog.now() WHERE s.prefix = $1`

	// cancelledSQL: $2 jobs were cancelled.
	cancelledSQL = "UPDATE iu_outbox.scaleout AS s SET cancelled = s.cancelled + $2 WHERE s.prefix = $1"

	// finishedSQL: no number waits.
	finishedSQL = `
		UPDATE iu_outbox.scaleout AS s SET counted = s.enqueued, finished_at = pg_catalog.now()
		WHERE s.prefix = $1 AND s.finished_at IS NULL`

	// countedSQL: none of the numbers 1 to $2 waits, unless the scale-out has been started again since $4.
	countedSQL = `
		UPDATE iu_outbox.scaleout AS s
		SET counted = $2, finished_at = CASE WHEN $3 THEN pg_catalog.now() END
		WHERE s.prefix = $1 AND s.started_at = $4 AND s.counted <= $2 AND s.finished_at IS NULL`
)

// note updates the row of a scale-out. In sql, $1 is its prefix.
func note(ctx context.Context, q operate.Querier, prefix, sql string, args ...any) error {
	if _, err := q.Exec(ctx, sql, append([]any{prefix}, args...)...); err != nil {
		return fmt.Errorf("note the state of the scale-out %q: %w", prefix, err)
	}
	return nil
}

// Prefixes returns the prefixes that begin with a text, for completion.
func Prefixes(ctx context.Context, q operate.Querier, text string, limit int) ([]string, error) {
	return operate.Collect(ctx, q, pgx.RowTo[string], `
		SELECT s.prefix FROM iu_outbox.scaleout AS s WHERE pg_catalog.starts_with(s.prefix, $1) ORDER BY s.prefix LIMIT $2`, text, limit)
}
