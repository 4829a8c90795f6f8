package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Result is what fn_iu_auto_instantiate_from_event answers. Fields beside Status are set where the status
// has them.
type Result struct {
	Status               Status     `json:"status"`
	Detail               string     `json:"detail,omitempty"`
	InstanceCollectionID *uuid.UUID `json:"instance_collection_id,omitempty"`
	InstanceKey          string     `json:"instance_key,omitempty"`
	PieceCount           int        `json:"piece_count,omitempty"`
	IdempotencyKey       string     `json:"idempotency_key,omitempty"`
}

// ErrKeyHeld says that another transaction works on the same instance key now. It passes.
var ErrKeyHeld = errors.New("another transaction works on the same instance key")

// Ids go as texts: an array of them passes in every mode of the protocol, those for transaction poolers included.
const composeSQL = `
	SELECT b.n, b.result
	FROM iu_outbox.compose_batch($1::text[]::uuid[], $2, $3::text[]::uuid[], $4, $5, $6, $7, $8) AS b`

// composeAll composes events in one statement and transaction; traceparents are what their emissions carry. It answers
// a result for each event, nil for one whose key another transaction holds; or an error, and nothing is composed.
func composeAll(ctx context.Context, pool *pgxpool.Pool, events []AutoInstantiateArgs, traceparents []string) ([]*Result, error) {
	rows, err := pool.Query(ctx, composeSQL, append(columns(events), traceparents)...)
	if err != nil {
		return nil, fmt.Errorf("call compose_batch: %w", err)
	}
	results := make([]*Result, len(events))
	var n int
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&n, &raw}, func() error {
		if raw == nil {
			return nil
		}
		return json.Unmarshal(raw, &results[n-1])
	})
	if err != nil {
		return nil, fmt.Errorf("call compose_batch: %w", err)
	}
	return results, nil
}

func columns(events []AutoInstantiateArgs) []any {
	n := len(events)
	eventIDs, templates := make([]string, n), make([]string, n)
	types, suffixes, modes, actors := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	notes := make([]*string, n)
	for i, e := range events {
		eventIDs[i], types[i], templates[i], suffixes[i] = e.EventID.String(), e.EventType, e.TemplateCollectionID.String(), e.InstanceKeySuffix
		modes[i], actors[i], notes[i] = e.EmitMode, e.Actor, e.Note
	}
	return []any{eventIDs, types, templates, suffixes, modes, actors, notes}
}
