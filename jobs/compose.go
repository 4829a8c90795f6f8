package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// Emission is what a transaction gave positions to, and whether it sent their notifications.
type Emission struct {
	Emitted      int   `json:"emitted"`
	LastPosition int64 `json:"last_position"`
	Notified     bool  `json:"notified"`
}

// ErrKeyHeld says that another transaction works on the same instance key now. It passes.
var ErrKeyHeld = errors.New("another transaction works on the same instance key")

// Ids go as texts: an array of them passes in every mode of the protocol, those for transaction poolers included.
const composeSQL = `
	SELECT b.n, b.result
	FROM iu_outbox.compose_batch($1::text[]::uuid[], $2, $3::text[]::uuid[], $4, $5, $6, $7, $8,
		CASE WHEN iu_outbox.fence($10, $11) THEN $9::boolean END) AS b`

// sqlStateFenced is what iu_outbox.fence raises.
const sqlStateFenced = "IU002"

// composed is what one transaction did: a result for each event, nil for one whose key another transaction holds; and
// what it emitted, nil: nothing.
type composed struct {
	results  []*Result
	emission *Emission
}

// composeAll composes events in one statement and transaction, and with emit announces them in it if it can; traceparents
// are what their emissions carry. After an error nothing is composed.
func composeAll(
	ctx context.Context, pool *pgxpool.Pool, events []AutoInstantiateArgs, traceparents []string, emit bool, by Incarnation,
) (composed, error) {
	var worker *string
	if by.Worker != "" {
		worker = &by.Worker
	}
	rows, err := pool.Query(ctx, composeSQL, append(columns(events), traceparents, emit, worker, by.Number)...)
	if err != nil {
		return composed{}, fmt.Errorf("call compose_batch: %w", err)
	}
	c := composed{results: make([]*Result, len(events))}
	var n int
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&n, &raw}, func() error {
		switch {
		case raw == nil:
			return nil
		case n == 0:
			return json.Unmarshal(raw, &c.emission)
		default:
			return json.Unmarshal(raw, &c.results[n-1])
		}
	})
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == sqlStateFenced {
		return composed{}, fmt.Errorf("%w: %w", ErrFenced, err)
	}
	if err != nil {
		return composed{}, fmt.Errorf("call compose_batch: %w", err)
	}
	return c, nil
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
