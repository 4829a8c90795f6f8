package operate

import (
	"context"
	"encoding/json"
	"errors"
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

// RollbackCounts are rows of each table, in the order in which they are deleted.
type RollbackCounts struct {
	EventLog   int64 `json:"event_log"`
	Lineage    int64 `json:"lineage"`
	Membership int64 `json:"membership"`
	Collection int64 `json:"collection"`
}

// Rollback deletes the instances that were composed for an actor, all of them or none, or, in a dry run, counts them.
func Rollback(ctx context.Context, q Querier, actor string, dryRun bool) (RollbackReport, error) {
	var raw []byte
	err := q.QueryRow(ctx, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor($1, $2)", actor, dryRun).Scan(&raw)
	if err != nil {
		return RollbackReport{}, fmt.Errorf("roll back %q: %w", actor, err)
	}
	var report RollbackReport
	if err := json.Unmarshal(raw, &report); err != nil {
		return RollbackReport{}, fmt.Errorf("read the result of fn_iu_auto_instantiate_rollback_by_actor: %w", err)
	}
	return report, nil
}

// RollbackPreview is what a rollback deletes, and how far that had come.
type RollbackPreview struct {
	RollbackReport

	Reach Reach `json:"reach"`
}

// PreviewRollback returns what rolling an actor back would delete, and who knows of it already; both as of one moment.
func PreviewRollback(ctx context.Context, pool *pgxpool.Pool, actor string) (preview RollbackPreview, err error) {
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, snapshot, func(tx pgx.Tx) error {
		if preview.RollbackReport, err = Rollback(ctx, tx, actor, true); err != nil {
			return err
		}
		preview.Reach, err = RollbackReach(ctx, tx, actor)
		return err
	})
	return preview, err
}

// ErrNotAsSeen says that a rollback would delete another number of instances than somebody saw and confirmed.
var ErrNotAsSeen = errors.New("not what the dry run showed")

// RollbackAsSeen rolls an actor back in a transaction that fails with ErrNotAsSeen where that deletes another number of
// instances than seen; nil: any number. What it returns is true in both cases. It locks what Rollback locks.
func RollbackAsSeen(ctx context.Context, tx pgx.Tx, actor string, seen *int64) (preview RollbackPreview, err error) {
	if preview.Reach, err = RollbackReach(ctx, tx, actor); err != nil {
		return preview, err
	}
	if preview.RollbackReport, err = Rollback(ctx, tx, actor, false); err != nil {
		return preview, err
	}
	if seen != nil && preview.Status == RollbackRolledBack && preview.Counts.EventLog != *seen {
		return preview, ErrNotAsSeen
	}
	return preview, nil
}

// AuditDetail is what the audit line of a rollback says.
func (p RollbackPreview) AuditDetail() map[string]any {
	return map[string]any{"actor": p.Actor, "counts": p.Counts, "announced": p.Reach.Announced, "consumers": p.Reach.Consumers}
}
