package status

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// Failure is events that ended badly within one minute, for the same reason: dead letters of an actor, or events that a
// consumer gave up.
type Failure struct {
	At       time.Time `json:"at"`       // of the last one
	Status   string    `json:"status"`   // of the dead letters; "" for a consumer's
	Actor    string    `json:"actor"`    // who inserted the events
	Consumer string    `json:"consumer"` // "" for dead letters of events
	Count    int64     `json:"count"`
	More     bool      `json:"more"` // there are more than Count
}

// failuresRead is how many of the newest rows RecentFailures groups.
const failuresRead = 1000

// RecentFailures returns up to limit groups of events that ended badly, newest first, of the last thousand of each kind.
func RecentFailures(ctx context.Context, q operate.Querier, limit int) ([]Failure, error) {
	rows, err := q.Query(ctx, `
		WITH letter AS MATERIALIZED (
			SELECT d.id, d.created_at, d.status, COALESCE(d.event ->> 'actor', '') AS actor
			FROM iu_outbox.dead_letter AS d ORDER BY d.id DESC LIMIT $1
		), given_up AS MATERIALIZED (
			SELECT g.created_at, g.consumer FROM iu_outbox.consumer_dead_letter AS g ORDER BY g.id DESC LIMIT $1
		)
		SELECT pg_catalog.max(l.created_at), l.status, l.actor, '', pg_catalog.count(*),
			pg_catalog.min(l.id) = (SELECT pg_catalog.min(f.id) FROM letter AS f) AND (SELECT pg_catalog.count(*) FROM letter) = $1
		FROM letter AS l GROUP BY l.status, l.actor, pg_catalog.date_trunc('minute', l.created_at)
		UNION ALL
		SELECT pg_catalog.max(g.created_at), '', '', g.consumer, pg_catalog.count(*), false
		FROM given_up AS g GROUP BY g.consumer, pg_catalog.date_trunc('minute', g.created_at)
		ORDER BY 1 DESC LIMIT $2`, failuresRead, limit)
	if err != nil {
		return nil, fmt.Errorf("read what ended badly: %w", err)
	}
	failures, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Failure])
	if err != nil {
		return nil, fmt.Errorf("read what ended badly: %w", err)
	}
	return failures, nil
}
