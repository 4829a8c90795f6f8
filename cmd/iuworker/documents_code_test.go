package main

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// docs/subscribers.md has an exact copy of the function index.

func index(ctx context.Context, pool *pgxpool.Pool) error {
	return subscribe.RunTx(ctx, subscribe.Config{Pool: pool, Consumer: "search-index"},
		func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
			for _, event := range events {
				if event.RolledBack() {
					continue // an operator rolled the instance back
				}
				_, err := tx.Exec(ctx, "INSERT INTO search_index (instance_key) VALUES ($1)", event.Data.InstanceKey)
				if err != nil {
					return err // the transaction is rolled back, and the events are delivered again
				}
			}
			return nil // the consumer's cursor moves in the same commit
		})
}

// runDocumentCode inserts an event, and waits until the function has indexed its instance.
func runDocumentCode(t testing.TB, db *iutest.DB) {
	t.Helper()
	order := uuid.New()
	db.Exec(t, "SELECT iu_outbox.add_event('welcome-letter', 'order.placed', $1::uuid, 'indexed-' || $1::uuid::text)", order)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- index(ctx, db.Pool) }()
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM search_index WHERE instance_key = 'tpl-inst:auto:indexed-' || $1)", order.String())
	stop()
	require.NoError(t, <-ended)
}
