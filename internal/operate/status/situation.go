package status

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
)

// Situation is what the page Now shows besides the status.
type Situation struct {
	Templates    operate.Count `json:"templates"`
	Composed     bool          `json:"composed"`     // there is an instance
	Subscribed   bool          `json:"subscribed"`   // there is a consumer, or a session listens
	Verification *Verification `json:"verification"` // nil: none yet
}

// Verification is how the last verification of all data by a worker went.
type Verification struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Wrong   int64     `json:"wrong"`
}

// ReadSituation reads a few rows of each table, however many there are.
func ReadSituation(ctx context.Context, tx pgx.Tx) (s Situation, err error) {
	err = tx.QueryRow(ctx, `
		SELECT (SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.template LIMIT $1) AS t),
			EXISTS (SELECT FROM public.iu_auto_instantiate_event_log),
			EXISTS (SELECT FROM iu_outbox.consumer) OR EXISTS (
				SELECT FROM pg_catalog.pg_stat_activity AS a
				WHERE a.datname = pg_catalog.current_database() AND a.query ILIKE 'listen%`+names.EventType+`%')`, operate.CountLimit+1).
		Scan(&s.Templates, &s.Composed, &s.Subscribed)
	if err != nil {
		return s, fmt.Errorf("read the situation: %w", err)
	}
	found, err := operate.Collect(ctx, tx, pgx.RowToAddrOfStructByPos[Verification], `
		SELECT v.at, v.seconds, v.wrong FROM iu_outbox.verification AS v`)
	if err != nil {
		return s, fmt.Errorf("read the last verification: %w", err)
	}
	if len(found) > 0 {
		s.Verification = found[0]
	}
	return s, nil
}

// Failure is a group of events that failed within one minute for the same reason: dead letters of an actor, or of a consumer.
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

// RecentFailures returns up to limit groups of failed events, newest first, of the last thousand dead letters of either kind.
func RecentFailures(ctx context.Context, q operate.Querier, limit int) ([]Failure, error) {
	failures, err := operate.Collect(ctx, q, pgx.RowToStructByPos[Failure], `
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
		return nil, fmt.Errorf("read the recent failures: %w", err)
	}
	return failures, nil
}

// Kept is the retention of events, and which ones are retained now.
type Kept struct {
	Retention      *float64   `json:"retention_seconds"`       // of emissions; nil: no worker has reported it, or all are kept
	ConsumerExpiry *float64   `json:"consumer_expiry_seconds"` // the same
	Emissions      int64      `json:"emissions"`               // retained ones
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
