package operate

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The statuses that Rollback returns.
const (
	RollbackReported   = "reported"    // a dry run: nothing was deleted
	RollbackRolledBack = "rolled_back" // the counts were deleted
	RollbackBlocked    = "blocked"     // instances are used elsewhere; nothing was deleted
)

// RollbackReport says what Rollback deleted, or would delete.
type RollbackReport struct {
	Status    string         `json:"status"`
	Actor     string         `json:"actor"`
	DryRun    bool           `json:"dry_run"`
	Counts    RollbackCounts `json:"counts"`
	BlockedBy []Blocker      `json:"blocked_by,omitempty"` // the first hundred
	Detail    string         `json:"detail,omitempty"`
}

// Blocker is an instance that something else uses, and the column that refers to it.
type Blocker struct {
	InstanceCollectionID uuid.UUID `json:"instance_collection_id"`
	InstanceKey          string    `json:"instance_key"`
	UsedBy               string    `json:"used_by"`
}

// RollbackCounts counts the rows of each table, in the order in which they are deleted.
type RollbackCounts struct {
	EventLog   int64 `json:"event_log"`
	Lineage    int64 `json:"lineage"`
	Membership int64 `json:"membership"`
	Collection int64 `json:"collection"`
}

// rollBack deletes the instances that were composed for an actor, all of them or none, or, in a dry run, counts them.
func rollBack(ctx context.Context, tx pgx.Tx, actor string, dryRun bool) (p RollbackPreview, err error) {
	if p.Reach, err = RollbackReach(ctx, tx, actor); err != nil {
		return p, err
	}
	err = tx.QueryRow(ctx, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor($1, $2)", actor, dryRun).Scan(&p.RollbackReport)
	if err != nil {
		return p, fmt.Errorf("roll back %q: %w", actor, err)
	}
	return p, nil
}

// RollbackPreview is what a rollback deletes, and the reach of that.
type RollbackPreview struct {
	RollbackReport

	Reach Reach `json:"reach"`
}

// PreviewRollback returns what a rollback of an actor would delete, and its reach, as of one moment.
func PreviewRollback(ctx context.Context, pool *pgxpool.Pool, actor string) (preview RollbackPreview, err error) {
	err = pgx.BeginTxFunc(ctx, pool, Snapshot, func(tx pgx.Tx) error {
		preview, err = rollBack(ctx, tx, actor, true)
		return err
	})
	return preview, err
}

// Rollback deletes the instances that were composed for an actor, all of them or none. It returns a NotAsSeenError if
// their number is not the one that was seen. Check the status: nothing was deleted unless it is RollbackRolledBack.
func (o Operator) Rollback(ctx context.Context, actor string, seen int64) (done RollbackPreview, err error) {
	err = o.change(ctx, "rollback", func(tx pgx.Tx) (any, error) {
		if done, err = rollBack(ctx, tx, actor, false); err != nil {
			return nil, err
		}
		now := done.Counts.EventLog
		switch {
		case done.Status != RollbackRolledBack:
			return nil, errUnchanged
		case now != seen:
			return nil, &NotAsSeenError{now, fmt.Sprintf("%q has %d instances now, not %d", actor, now, seen)}
		case now == 0:
			return nil, errUnchanged
		}
		return map[string]any{
			"actor": actor, "counts": done.Counts, "announced": done.Reach.Announced, "consumers": done.Reach.Consumers,
		}, nil
	})
	return done, err
}
