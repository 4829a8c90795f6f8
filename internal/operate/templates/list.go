package templates

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// Line is a template in a list.
type Line struct {
	Template

	Pieces    int64      `json:"pieces"`  // active ones
	Version   *int       `json:"version"` // nil if none was recorded
	Instances int64      `json:"instances"`
	LastAt    *time.Time `json:"last_at"` // when the youngest instance was composed; nil if there is none
}

const templateLineSQL = `
	SELECT t.id, t.collection_key, t.title,
		(SELECT pg_catalog.count(*) FROM public.iu_piece_membership AS m WHERE m.collection_id = t.id AND m.is_active),
		(SELECT pg_catalog.max(v.version) FROM public.iu_collection_template_version AS v WHERE v.collection_id = t.id),
		COALESCE(s.instances, 0), s.last_at
	FROM iu_outbox.template AS t
	CROSS JOIN LATERAL (
		SELECT pg_catalog.count(*) AS instances, pg_catalog.max(l.created_at) AS last_at
		FROM public.iu_auto_instantiate_event_log AS l WHERE l.template_collection_id = t.id) AS s`

// List returns up to limit templates whose keys come after a key, in the order of their keys.
func List(ctx context.Context, q operate.Querier, after string, limit int) ([]Line, error) {
	rows, err := q.Query(ctx, templateLineSQL+` WHERE t.collection_key > $1 ORDER BY t.collection_key LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	lines, err := pgx.CollectRows(rows, scanTemplateLine)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	return lines, nil
}

func scanTemplateLine(row pgx.CollectableRow) (l Line, err error) {
	err = row.Scan(&l.ID, &l.Key, &l.Title, &l.Pieces, &l.Version, &l.Instances, &l.LastAt)
	return l, err
}

// Detail is a template with its pieces and versions.
type Detail struct {
	Line

	PieceKeys []string  `json:"piece_keys"` // active ones, in the order of their positions
	Versions  []Version `json:"versions"`   // the latest one first
}

// Version is a recorded content of a template.
type Version struct {
	Version    int        `json:"version"`
	Digest     *string    `json:"digest"`
	RecordedBy *string    `json:"recorded_by"`
	CreatedAt  *time.Time `json:"created_at"`
}

// Show returns the template with that collection key, or with that id. A TemplateNotFoundError if there is none.
func Show(ctx context.Context, q operate.Querier, reference string) (detail Detail, err error) {
	found, err := Find(ctx, q, reference)
	if err != nil {
		return detail, err
	}
	rows, err := q.Query(ctx, templateLineSQL+` WHERE t.id = $1`, found.ID)
	if err == nil {
		detail.Line, err = pgx.CollectExactlyOneRow(rows, scanTemplateLine)
	}
	if err != nil {
		return detail, fmt.Errorf("read the template %q: %w", found.Key, err)
	}
	rows, err = q.Query(ctx, `
		SELECT p.piece_key FROM public.iu_piece_membership AS m JOIN public.iu_piece AS p ON p.id = m.piece_id
		WHERE m.collection_id = $1 AND m.is_active ORDER BY m.position, p.id`, found.ID)
	if err == nil {
		detail.PieceKeys, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return detail, fmt.Errorf("read the pieces of the template %q: %w", found.Key, err)
	}
	rows, err = q.Query(ctx, `
		SELECT v.version, v.digest, v.recorded_by, v.created_at FROM public.iu_collection_template_version AS v
		WHERE v.collection_id = $1 ORDER BY v.version DESC`, found.ID)
	if err == nil {
		detail.Versions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Version])
	}
	if err != nil {
		return detail, fmt.Errorf("read the versions of the template %q: %w", found.Key, err)
	}
	return detail, nil
}

// Keys returns the keys that begin with a prefix, for completion.
func Keys(ctx context.Context, q operate.Querier, prefix string, limit int) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT t.collection_key FROM iu_outbox.template AS t
		WHERE pg_catalog.starts_with(t.collection_key, $1) ORDER BY t.collection_key LIMIT $2`, prefix, limit)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return slices.Clip(keys), err
}
