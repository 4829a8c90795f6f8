package operate

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// CancelledActor is what CancelActor did.
type CancelledActor struct {
	Actor     string `json:"actor"`
	Cancelled int    `json:"cancelled"`
	Left      int64  `json:"left"` // running, or in the outbox
	AuditID   int64  `json:"-"`    // of the audit line, if one tells all of it
}

// CountToCome returns how many jobs CancelActor would cancel now.
func CountToCome(ctx context.Context, q Querier, actor string) (int, error) {
	ids, err := actorJobs(ctx, q, actor)
	return len(ids), err
}

// CancelActor cancels the jobs of an actor that have not run yet, and drops the dead letters that this makes. Each
// transaction, of up to a thousand jobs, leaves an audit line in the name of by. The result says how far it came, also if
// it fails. Rows in the outbox are left to the relay: they become jobs within a second.
func CancelActor(ctx context.Context, pool *pgxpool.Pool, by, actor string) (CancelledActor, error) {
	done := CancelledActor{Actor: actor}
	for before := -1; before < done.Cancelled; { // again for those that came meanwhile
		before = done.Cancelled
		ids, err := actorJobs(ctx, pool, actor)
		if err != nil {
			return done, err
		}
		for batch := range slices.Chunk(ids, cancelBatch) {
			n, err := cancelJobs(ctx, pool, by, "actor.cancel", map[string]any{"actor": actor}, batch)
			if err != nil {
				return done, fmt.Errorf("cancel the jobs of %q: %w", actor, err)
			}
			done.Cancelled += n
		}
	}
	err := pool.QueryRow(ctx, `
		SELECT (SELECT pg_catalog.count(*) FROM iu_outbox.event AS e WHERE e.actor = $1)
			+ (SELECT pg_catalog.count(*) FROM iu_outbox.job AS j
			   WHERE j.state = 'running' AND j.event ->> 'actor' = $1)`, actor).Scan(&done.Left)
	if err == nil && done.Cancelled > 0 && done.Cancelled <= cancelBatch {
		err = pool.QueryRow(ctx, `
			SELECT COALESCE(pg_catalog.max(a.id), 0) FROM iu_outbox.audit AS a
			WHERE a.action = 'actor.cancel' AND a.actor = $1 AND a.detail ->> 'actor' = $2 AND a.detail ->> 'count' = $3::text`,
			by, actor, strconv.Itoa(done.Cancelled)).Scan(&done.AuditID)
	}
	if err != nil {
		return done, fmt.Errorf("count what is left of %q: %w", actor, err)
	}
	return done, nil
}

// actorJobs returns the jobs of an actor that have not run yet, lowest id first.
func actorJobs(ctx context.Context, q Querier, actor string) ([]int64, error) {
	rows, err := q.Query(ctx, `
		SELECT j.id FROM iu_outbox.job AS j WHERE j.cancellable AND j.event ->> 'actor' = $1 ORDER BY j.id`, actor)
	if err != nil {
		return nil, fmt.Errorf("look for the jobs of %q: %w", actor, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("look for the jobs of %q: %w", actor, err)
	}
	return ids, nil
}
