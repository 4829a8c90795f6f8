package demo

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/compose"
)

const (
	// Actor is the actor of all that the demo does. A rollback of this actor deletes its instances.
	Actor = "iuworker-demo"
	// TemplateKey is the collection key of the demo's template.
	TemplateKey = "demo.welcome-letter"
)

// pieces are the texts of the template's pieces.
var pieces = []string{"Dear customer,", "thank you for your order.", "Yours, the shop"}

// Prepare opens both gates, and creates the template if it does not exist.
func Prepare(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, gate := range []compose.Gate{compose.GateComposer, compose.GateAutoInstantiate} {
			if _, err := tx.Exec(ctx, "SELECT iu_outbox.set_gate($1, true, $2)", string(gate), Actor); err != nil {
				return fmt.Errorf("open the gate %s: %w", gate, err)
			}
		}
		return createTemplate(ctx, tx)
	})
}

func createTemplate(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM iu_outbox.template AS t WHERE t.collection_key = $1)", TemplateKey).Scan(&exists)
	if err != nil {
		return fmt.Errorf("look for the template: %w", err)
	}
	if exists {
		return nil
	}
	ids := make([]string, len(pieces))
	for i, text := range pieces {
		err := tx.QueryRow(ctx, `
			INSERT INTO public.iu_piece (piece_key, body, created_by)
			VALUES ($1, pg_catalog.jsonb_build_object('text', $2::text), $3)
			RETURNING id::text`, fmt.Sprintf("%s/%d", TemplateKey, i+1), text, Actor).Scan(&ids[i])
		if err != nil {
			return fmt.Errorf("create piece %d: %w", i+1, err)
		}
	}
	var composed struct {
		Status       string    `json:"status"`
		Detail       string    `json:"detail"`
		CollectionID uuid.UUID `json:"collection_id"`
	}
	err = tx.QueryRow(ctx, "SELECT public.fn_iu_compose($1, 'Welcome letter', $2::text[]::uuid[], $3)", TemplateKey, ids, Actor).Scan(&composed)
	if err != nil {
		return fmt.Errorf("compose the template: %w", err)
	}
	if composed.Status != "composed" {
		return fmt.Errorf("compose the template: fn_iu_compose returned %s %s", composed.Status, composed.Detail)
	}
	if _, err := tx.Exec(ctx, "SELECT public.fn_iu_collection_mark_template($1, $2)", composed.CollectionID, Actor); err != nil {
		return fmt.Errorf("mark the template: %w", err)
	}
	return nil
}
