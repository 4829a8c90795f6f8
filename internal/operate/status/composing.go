package status

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// Composing is how workers compose instances: in sets, a statement per table for many events, or by a call of the function for
// each event. Both leave the same rows.
type Composing struct {
	Way        Way      `json:"way"`
	Obstacle   *string  `json:"obstacle"`            // to sets, for all workers; nil: none
	ByFunction []string `json:"workers_by_function"` // living workers that were started with --compose-by function
	Workers    int      `json:"workers"`             // living ones that have reported their settings
}

// Way is a way of composing.
type Way string

// The ways of composing.
const (
	WaySets     Way = "sets"
	WayFunction Way = "function"
	WayBoth     Way = "both" // some workers in sets, the others by the function
)

// ReadComposing returns how workers compose instances.
func ReadComposing(ctx context.Context, tx pgx.Tx) (c Composing, err error) {
	err = tx.QueryRow(ctx, `
		SELECT iu_outbox.set_obstacle(), pg_catalog.count(w.id),
			COALESCE(pg_catalog.array_agg(w.id ORDER BY w.id) FILTER (WHERE r.settings ->> 'compose_by' = 'function'), '{}')
		FROM iu_outbox.worker_status AS w
		JOIN iu_outbox.worker_report AS r ON r.worker = w.id
		WHERE w.alive`).Scan(&c.Obstacle, &c.Workers, &c.ByFunction)
	if err != nil {
		return c, fmt.Errorf("read how instances are composed: %w", err)
	}
	switch {
	case c.Obstacle != nil, c.Workers > 0 && len(c.ByFunction) == c.Workers:
		c.Way = WayFunction
	case len(c.ByFunction) > 0:
		c.Way = WayBoth
	default:
		c.Way = WaySets
	}
	return c, nil
}

// String returns the way and why: "by a call for each event: iu-core has its own fn_iu_compose".
func (c Composing) String() string {
	const byFunction = "by a call for each event"
	switch {
	case c.Obstacle != nil:
		return byFunction + ": " + *c.Obstacle
	case c.Way == WayFunction:
		return byFunction + ": --compose-by function"
	case c.Way == WayBoth:
		return fmt.Sprintf("in sets, and %s in %d of %s (--compose-by function)", byFunction, len(c.ByFunction),
			operate.Plural(c.Workers, "worker", "workers"))
	}
	return "in sets"
}
