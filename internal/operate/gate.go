package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
)

// Gate is one of the two switches of iu-core. While a gate is closed, jobs that need it are parked.
type Gate struct {
	Gate      compose.Gate `json:"gate"`
	Key       string       `json:"key"` // in public.dot_config
	Open      bool         `json:"open"`
	UpdatedBy *string      `json:"updated_by"` // nil if it was never changed
	UpdatedAt *time.Time   `json:"updated_at"`
}

// Gates returns both gates.
func Gates(ctx context.Context, q Querier) ([]Gate, error) {
	gates, err := Collect(ctx, q, pgx.RowToStructByPos[Gate], "SELECT gate, key, open, updated_by, updated_at FROM iu_outbox.gate_status()")
	if err != nil {
		return nil, fmt.Errorf("read the gates: %w", err)
	}
	return gates, nil
}

// ParkedBy returns how many jobs are parked for a gate.
func ParkedBy(ctx context.Context, q Querier, gate compose.Gate) (n int64, err error) {
	err = q.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM iu_outbox.parked_jobs($1)", string(gate)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the jobs parked for the gate %s: %w", gate, err)
	}
	return n, nil
}

// GateChange is what SetGate did.
type GateChange struct {
	WasOpen bool
	Parked  int64 // how many jobs were parked for the gate that was opened: they run now
}

// SetGate opens or closes a gate. If the gate is in that state already, nothing changes.
func (o Operator) SetGate(ctx context.Context, gate compose.Gate, open bool) (done GateChange, err error) {
	action := "gate.close"
	if open {
		action = "gate.open"
	}
	err = o.change(ctx, action, func(tx pgx.Tx) (any, error) {
		err := tx.QueryRow(ctx, "SELECT iu_outbox.set_gate($1, $2, $3)", string(gate), open, o.Actor).Scan(&done.WasOpen)
		if err != nil {
			return nil, fmt.Errorf("set the gate %s: %w", gate, err)
		}
		if done.WasOpen == open {
			return nil, errUnchanged
		}
		detail := map[string]any{"gate": gate, "was_open": done.WasOpen}
		if open {
			if done.Parked, err = ParkedBy(ctx, tx, gate); err != nil {
				return nil, err
			}
			detail["parked"] = Thousands(done.Parked)
		}
		return detail, nil
	})
	return done, err
}
