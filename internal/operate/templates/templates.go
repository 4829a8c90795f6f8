package templates

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// Template is a collection that is marked as a template.
type Template struct {
	ID    uuid.UUID `json:"id"`
	Key   string    `json:"collection_key"`
	Title *string   `json:"title"`
}

// NotFoundError is returned by Find if there is no such template.
type NotFoundError struct {
	Reference string
	Nearest   []string // keys of similar templates
}

// Error implements error.
func (e *NotFoundError) Error() string {
	meant := ""
	if len(e.Nearest) > 0 {
		meant = ", did you mean " + strings.Join(e.Nearest, ", ") + "?"
	}
	return fmt.Sprintf("there is no template %q%s; to list the templates, run: iuworker templates", e.Reference, meant)
}

// Find returns the template with that collection key, else the one with that id.
func Find(ctx context.Context, q operate.Querier, reference string) (Template, error) {
	var id *uuid.UUID
	if parsed, err := uuid.Parse(reference); err == nil {
		id = &parsed
	}
	var found Template
	err := q.QueryRow(ctx, `
		SELECT t.id, t.collection_key, t.title FROM iu_outbox.template AS t
		WHERE t.collection_key = $1 OR t.id = $2
		ORDER BY t.collection_key = $1 DESC
		LIMIT 1`, reference, id).Scan(&found.ID, &found.Key, &found.Title)
	if errors.Is(err, pgx.ErrNoRows) {
		return Template{}, noTemplate(ctx, q, reference)
	}
	if err != nil {
		return Template{}, fmt.Errorf("find the template %q: %w", reference, err)
	}
	return found, nil
}

// CollectionID returns the id of the collection with that key. If there is none, it returns reference as an id; uuid.Nil if it is no id.
func CollectionID(ctx context.Context, q operate.Querier, reference string) (id uuid.UUID, err error) {
	err = q.QueryRow(ctx, "SELECT c.id FROM public.iu_piece_collection AS c WHERE c.collection_key = $1", reference).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		id, _ = uuid.Parse(reference)
		return id, nil
	}
	if err != nil {
		return uuid.Nil, fmt.Errorf("find the collection %q: %w", reference, err)
	}
	return id, nil
}

func noTemplate(ctx context.Context, q operate.Querier, reference string) error {
	keys, err := operate.Collect(ctx, q, pgx.RowTo[string], "SELECT n.collection_key FROM iu_outbox.nearest_templates($1) AS n", reference)
	if err != nil {
		return fmt.Errorf("find similar templates: %w", err)
	}
	return &NotFoundError{Reference: reference, Nearest: keys}
}
