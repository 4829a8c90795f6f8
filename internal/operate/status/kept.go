package status

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kept is how long events are retained, and what that retains now.
type Kept struct {
	Retention      *float64   `json:"retention_seconds"`       // of emissions; nil: no worker has stated it, or all are kept
	ConsumerExpiry *float64   `json:"consumer_expiry_seconds"` // the same
	Emissions      int64      `json:"emissions"`               // that are retained
	OldestAt       *time.Time `json:"oldest_at"`               // when the first of them was announced
	Pruned         int64      `json:"pruned"`                  // positions up to this one were deleted
	HeldBy         *string    `json:"held_by"`                 // the consumer that is furthest behind
	HeldAt         *int64     `json:"held_at"`                 // its position
	HistorySince   *time.Time `json:"history_since"`           // the first minute of the charts
}

// ReadKept returns what is retained.
func ReadKept(ctx context.Context, tx pgx.Tx) (k Kept, err error) {
	err = tx.QueryRow(ctx, `
		SELECT a.retention, a.consumer_expiry, GREATEST(c.position - p.position, 0),
			(SELECT e.emitted_at FROM iu_outbox.emission AS e WHERE e.position > 0 ORDER BY e.position LIMIT 1),
			p.position, f.name, f.position, (SELECT pg_catalog.min(h.at) FROM iu_outbox.history AS h)
		FROM iu_outbox.attendance AS a
		CROSS JOIN iu_outbox.emission_counter AS c
		CROSS JOIN iu_outbox.emission_pruned AS p
		LEFT JOIN LATERAL (SELECT f.name, f.position FROM iu_outbox.consumer AS f ORDER BY f.position, f.name LIMIT 1) AS f ON true`).
		Scan(&k.Retention, &k.ConsumerExpiry, &k.Emissions, &k.OldestAt, &k.Pruned, &k.HeldBy, &k.HeldAt, &k.HistorySince)
	if err != nil {
		return k, fmt.Errorf("read what is retained: %w", err)
	}
	return k, nil
}
