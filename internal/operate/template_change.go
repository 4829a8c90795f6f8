package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Errors of CreateTemplate and MarkTemplate.
var (
	ErrNoPiece      = errors.New("no such piece")
	ErrNoCollection = errors.New("no such collection")
)

// MarkedTemplate is the result of marking a collection.
type MarkedTemplate struct {
	ID         uuid.UUID `json:"id"`
	Key        string    `json:"collection_key"`
	IsTemplate bool      `json:"is_template"`
	Version    *int      `json:"version"`
	Digest     *string   `json:"digest"`
}

// CreateTemplate composes a collection of pieces, named by their keys in this order, and marks it as a template. ErrNoPiece
// names the pieces that do not exist.
func (o Operator) CreateTemplate(ctx context.Context, key, title string, pieces []string) (marked MarkedTemplate, err error) {
	err = o.change(ctx, "template.create", func(tx pgx.Tx) (any, error) {
		ids, err := pieceIDs(ctx, tx, pieces)
		if err != nil {
			return nil, err
		}
		var status, detail string
		err = tx.QueryRow(ctx, `
			SELECT c.result ->> 'status', COALESCE(c.result ->> 'detail', '')
			FROM (SELECT public.fn_iu_compose($1, $2, $3::text[]::uuid[], $4) AS result) AS c`, key, title, ids, o.Actor).Scan(&status, &detail)
		switch {
		case err != nil:
			return nil, fmt.Errorf("compose the collection %q: %w", key, err)
		case status == "composer_disabled":
			return nil, errors.New("the gate composer is closed; open it first: iuworker gate open composer")
		case status == "key_conflict":
			return nil, fmt.Errorf("the collection %q exists already; to mark it, run: iuworker templates mark %s", key, key)
		case status != "composed":
			return nil, fmt.Errorf("compose the collection %q: %s: %s", key, status, detail)
		}
		marked, err = markCollection(ctx, tx, key, o.Actor, true)
		return map[string]any{"template": key, "pieces": len(pieces)}, err
	})
	return marked, err
}

// MarkTemplate marks a collection as a template, or removes the mark. It returns ErrNoCollection if no collection has the key.
func (o Operator) MarkTemplate(ctx context.Context, key string, isTemplate bool) (marked MarkedTemplate, err error) {
	action := "template.mark"
	if !isTemplate {
		action = "template.unmark"
	}
	err = o.change(ctx, action, func(tx pgx.Tx) (any, error) {
		marked, err = markCollection(ctx, tx, key, o.Actor, isTemplate)
		return map[string]any{"template": key}, err
	})
	return marked, err
}

func markCollection(ctx context.Context, tx pgx.Tx, key, actor string, isTemplate bool) (MarkedTemplate, error) {
	marked := MarkedTemplate{Key: key, IsTemplate: isTemplate}
	var status string
	err := tx.QueryRow(ctx, `
		SELECT c.id, m.result ->> 'status', (m.result ->> 'version')::integer, m.result ->> 'digest'
		FROM public.iu_piece_collection AS c
		CROSS JOIN LATERAL public.fn_iu_collection_mark_template(c.id, $2, $3) AS m (result)
		WHERE c.collection_key = $1`, key, actor, isTemplate).Scan(&marked.ID, &status, &marked.Version, &marked.Digest)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return marked, fmt.Errorf("%w: %q", ErrNoCollection, key)
	case err != nil:
		return marked, fmt.Errorf("mark the collection %q: %w", key, err)
	case status != "marked":
		return marked, fmt.Errorf("mark the collection %q: %s", key, status)
	}
	return marked, nil
}

// pieceIDs returns the ids of pieces as texts, in the order of their keys.
func pieceIDs(ctx context.Context, tx pgx.Tx, keys []string) (ids []string, err error) {
	var missing []string
	err = tx.QueryRow(ctx, `
		SELECT pg_catalog.array_agg(p.id::text ORDER BY k.n) FILTER (WHERE p.id IS NOT NULL),
			pg_catalog.array_agg(pg_catalog.concat('"', k.key, '"') ORDER BY k.n) FILTER (WHERE p.id IS NULL)
		FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS k (key, n)
		LEFT JOIN public.iu_piece AS p ON p.piece_key = k.key`, keys).Scan(&ids, &missing)
	if err != nil {
		return nil, fmt.Errorf("find the pieces: %w", err)
	}
	const named = 5
	if n := len(missing) - named; n > 0 {
		missing = append(missing[:named-1], fmt.Sprintf("%s and %d more", missing[named-1], n))
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoPiece, strings.Join(missing, ", "))
	}
	return ids, nil
}
