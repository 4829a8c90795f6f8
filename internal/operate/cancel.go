package operate

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Cancelled is the result of a change that cancels jobs.
type Cancelled struct {
	Actor     string `json:"actor,omitempty"`
	Prefix    string `json:"prefix,omitempty"`
	Cancelled int    `json:"cancelled"`
	Left      int64  `json:"left"` // events whose jobs have begun, or that are in the outbox
}

// CountToCome returns how many jobs CancelActor would cancel now.
func CountToCome(ctx context.Context, q Querier, actor string) (int64, error) {
	ids, err := actorJobs(ctx, q, actor)
	return int64(len(ids)), err
}

// CancelActor cancels the jobs of an actor that have not run yet, and drops the dead letters that this makes. If there are
// more than most, it returns a NotAsSeenError. Rows in the outbox are left to the relay: they become jobs within a second.
func (o Operator) CancelActor(ctx context.Context, actor string, most int64) (done Cancelled, err error) {
	done.Actor = actor
	done.Cancelled, err = o.CancelJobs(ctx, "actor.cancel", actor, most, actorJobs, func(_ pgx.Tx, n int) (any, error) {
		return map[string]any{"actor": actor, "count": n}, nil
	})
	if err != nil {
		return done, err
	}
	err = o.Pool.QueryRow(ctx, `
		SELECT (SELECT pg_catalog.count(*) FROM iu_outbox.event AS e WHERE e.actor = $1)
			+ (SELECT pg_catalog.count(*) FROM iu_outbox.job AS j
			   WHERE j.state = 'running' AND j.event ->> 'actor' = $1)`, actor).Scan(&done.Left)
	if err != nil {
		return done, fmt.Errorf("count what is left of %q: %w", actor, err)
	}
	return done, nil
}

// CancelJobs cancels the jobs that find returns for a name. It repeats this until there are none, because jobs may be added
// meanwhile, or fail and wait for their next attempt. If the first search finds more than most, it returns a NotAsSeenError.
// detail runs in each transaction, after it has cancelled n jobs, and returns the detail of its audit line.
func (o Operator) CancelJobs(ctx context.Context, action, name string, most int64,
	find func(ctx context.Context, q Querier, name string) ([]int64, error), detail func(tx pgx.Tx, n int) (any, error),
) (cancelled int, err error) {
	for before := -1; before < cancelled; {
		ids, err := find(ctx, o.Pool, name)
		switch {
		case err != nil:
			return cancelled, err
		case before < 0 && int64(len(ids)) > most:
			return 0, &NotAsSeenError{int64(len(ids)), fmt.Sprintf("there are %d jobs of %q now, not %d", len(ids), name, most)}
		}
		before = cancelled
		for ids := range slices.Chunk(ids, changedAtOnce) {
			n, err := o.changeRows(ctx, action, cancelSQL, ids, detail)
			if err != nil {
				return cancelled, fmt.Errorf("%d jobs of %q cancelled, then: %w", cancelled, name, err)
			}
			cancelled += n
		}
	}
	return cancelled, nil
}

// actorJobs returns the ids of an actor's jobs that have not run yet, lowest first.
func actorJobs(ctx context.Context, q Querier, actor string) ([]int64, error) {
	ids, err := Collect(ctx, q, pgx.RowTo[int64], `
		SELECT j.id FROM iu_outbox.job AS j WHERE j.cancellable AND j.event ->> 'actor' = $1 ORDER BY j.id`, actor)
	if err != nil {
		return nil, fmt.Errorf("find the jobs of %q: %w", actor, err)
	}
	return ids, nil
}
