package operate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// What Rollback answers.
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
		return RollbackReport{}, fmt.Errorf("read the answer of fn_iu_auto_instantiate_rollback_by_actor: %w", err)
	}
	return report, nil
}
