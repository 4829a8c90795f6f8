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

// Ground says whose database it is.
type Ground string

// Results of Inspect.
const (
	GroundEmpty   Ground = "empty"   // nobody's
	GroundOwn     Ground = "own"     // a demo's
	GroundForeign Ground = "foreign" // somebody else's
)

// markKey is the key of the config row that Mark inserts.
const markKey = "iuworker.demo"

// Inspect reports whose database it is. It ignores what extensions created.
func Inspect(ctx context.Context, pool *pgxpool.Pool) (Ground, error) {
	var empty, hasConfig bool
	err := pool.QueryRow(ctx, `
		WITH namespace AS (
			SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace AS n
			WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
		), object (classid, objid) AS (
			SELECT 'pg_catalog.pg_namespace'::regclass, n.oid FROM namespace AS n WHERE n.nspname <> 'public'
			UNION ALL
			SELECT 'pg_catalog.pg_class'::regclass, c.oid FROM pg_catalog.pg_class AS c JOIN namespace AS n ON n.oid = c.relnamespace
			UNION ALL
			SELECT 'pg_catalog.pg_proc'::regclass, p.oid FROM pg_catalog.pg_proc AS p JOIN namespace AS n ON n.oid = p.pronamespace
		)
		SELECT NOT EXISTS (SELECT FROM object AS o WHERE (o.classid, o.objid) NOT IN (
		           SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d WHERE d.deptype = 'e')),
		       pg_catalog.to_regclass('public.dot_config') IS NOT NULL`).Scan(&empty, &hasConfig)
	switch {
	case err != nil:
		return "", fmt.Errorf("inspect the database: %w", err)
	case empty:
		return GroundEmpty, nil
	case !hasConfig:
		return GroundForeign, nil
	}
	var marked bool
	err = pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM public.dot_config AS c WHERE c.key = $1)", markKey).Scan(&marked)
	switch {
	case err != nil:
		return "", fmt.Errorf("look up the mark of a demo: %w", err)
	case marked:
		return GroundOwn, nil
	default:
		return GroundForeign, nil
	}
}

// Mark marks a database as the demo's own. Call it if Inspect found it empty.
func Mark(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `
		INSERT INTO public.dot_config (key, value, description, updated_by)
		VALUES ($1, 'true', 'iuworker demo made this database and may use it again', $2)
		ON CONFLICT (key) DO NOTHING`, markKey, Actor)
	if err != nil {
		return fmt.Errorf("mark the database as the demo's own: %w", err)
	}
	return nil
}

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
		var exists bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM iu_outbox.template AS t WHERE t.collection_key = $1)", TemplateKey).Scan(&exists)
		if err != nil {
			return fmt.Errorf("look up the template: %w", err)
		}
		if exists {
			return nil
		}
		return createTemplate(ctx, tx)
	})
}

func createTemplate(ctx context.Context, tx pgx.Tx) error {
	var ids []string
	err := tx.QueryRow(ctx, `
		WITH created AS (
			INSERT INTO public.iu_piece (piece_key, body, created_by)
			SELECT $1 || '/' || t.n, pg_catalog.jsonb_build_object('text', t.body), $3
			FROM pg_catalog.unnest($2::text[]) WITH ORDINALITY AS t (body, n)
			RETURNING id, piece_key
		)
		SELECT pg_catalog.array_agg(c.id::text ORDER BY c.piece_key) FROM created AS c`, TemplateKey, pieces, Actor).Scan(&ids)
	if err != nil {
		return fmt.Errorf("create the pieces: %w", err)
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
