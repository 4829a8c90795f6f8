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
	for _, read := range []func(context.Context, pgx.Tx, *Situation) error{readFirsts, readVerification} {
		if err := read(ctx, tx, &s); err != nil {
			return s, fmt.Errorf("read the situation: %w", err)
		}
	}
	return s, nil
}

func readFirsts(ctx context.Context, tx pgx.Tx, s *Situation) error {
	return tx.QueryRow(ctx, `
		SELECT (SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.template LIMIT $1) AS t),
			EXISTS (SELECT FROM public.iu_auto_instantiate_event_log),
			EXISTS (SELECT FROM iu_outbox.consumer) OR EXISTS (
				SELECT FROM pg_catalog.pg_stat_activity AS a
				WHERE a.datname = pg_catalog.current_database() AND a.query ILIKE 'listen%`+names.EventType+`%')`, operate.CountLimit+1).
		Scan(&s.Templates, &s.Composed, &s.Subscribed)
}

func readVerification(ctx context.Context, tx pgx.Tx, s *Situation) error {
	found, err := operate.Collect(ctx, tx, pgx.RowToAddrOfStructByPos[Verification], `
		SELECT v.at, v.seconds, v.wrong FROM iu_outbox.verification AS v`)
	if err == nil && len(found) > 0 {
		s.Verification = found[0]
	}
	return err
}
