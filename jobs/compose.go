package jobs

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
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

// Composer composes the instance of an event, or finds that it has been. It commits before it answers,
// and is safe for concurrent use.
type Composer interface {
	Compose(ctx context.Context, args AutoInstantiateArgs) (Result, error)
}

// PoolComposer calls the SQL function, a transaction a call, on a pool's connections.
type PoolComposer struct {
	pool  *pgxpool.Pool
	slots chan struct{}
}

// reserved is how many of a pool's connections are left to River, the relay and the emitter: jobs that wait for locks
// must not keep the worker from saying that it lives.
const reserved = 4

// NewPoolComposer makes a composer that uses at most as many of the pool's connections as leave room for others.
func NewPoolComposer(pool *pgxpool.Pool) *PoolComposer {
	return &PoolComposer{pool: pool, slots: make(chan struct{}, max(1, int(pool.Config().MaxConns)-reserved))}
}

// The settings end with the statement. The first is read by the trigger that writes the emission. The others keep a
// session whose plans, those of foreign-key checks among them, were made on small tables from reading all of
// them once they have grown.
const composeSQL = `
	SELECT public.fn_iu_auto_instantiate_from_event($1, $2, $3, $4, $5, $6, $7)
	FROM pg_catalog.set_config('iu_outbox.traceparent', $8, true) AS trace,
		pg_catalog.set_config('enable_seqscan', 'off', true) AS scans,
		pg_catalog.set_config('jit', 'off', true) AS compiles`

// Compose implements Composer.
func (c *PoolComposer) Compose(ctx context.Context, args AutoInstantiateArgs) (Result, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for a connection: %w", ctx.Err())
	}
	var raw []byte
	row := c.pool.QueryRow(ctx, composeSQL, args.EventID, args.EventType, args.TemplateCollectionID,
		args.InstanceKeySuffix, args.EmitMode, args.Actor, args.Note, args.Traceparent())
	if err := row.Scan(&raw); err != nil {
		return Result{}, fmt.Errorf("call fn_iu_auto_instantiate_from_event: %w", err)
	}
	var result Result
	if err := json.Unmarshal(raw, &result); err != nil {
		return Result{}, fmt.Errorf("read the answer of fn_iu_auto_instantiate_from_event: %w", err)
	}
	return result, nil
}
