package templates

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// Line is a template in a list.
type Line struct {
	Template

	Pieces    int64      `json:"pieces"`  // active ones
	Version   *int       `json:"version"` // nil if none was recorded
	Instances int64      `json:"instances"`
	LastAt    *time.Time `json:"last_at"` // when the latest instance was composed; nil: none
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
	lines, err := operate.Collect(ctx, q, pgx.RowToStructByPos[Line],
		templateLineSQL+` WHERE t.collection_key > $1 ORDER BY t.collection_key LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	return lines, nil
}

// Detail is a template with its pieces and versions.
type Detail struct {
	Line

	PieceKeys []string  `json:"piece_keys"` // active ones, in the order of their positions
	Versions  []Version `json:"versions"`   // the latest one first
}

// Version is a recorded version of a template's content.
type Version struct {
	Version    int        `json:"version"`
	Digest     *string    `json:"digest"`
	RecordedBy *string    `json:"recorded_by"`
	CreatedAt  *time.Time `json:"created_at"`
}

// Show returns the template with that collection key, or with that id. It returns a NotFoundError if there is none.
func Show(ctx context.Context, q operate.Querier, reference string) (detail Detail, err error) {
	found, err := Find(ctx, q, reference)
	if err != nil {
		return detail, err
	}
	rows, err := q.Query(ctx, templateLineSQL+` WHERE t.id = $1`, found.ID)
	if err == nil {
		detail.Line, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Line])
	}
	if err != nil {
		return detail, fmt.Errorf("read the template %q: %w", found.Key, err)
	}
	detail.PieceKeys, detail.Versions, err = readContent(ctx, q, found.ID, math.MaxInt32, math.MaxInt32)
	return detail, err
}

// readContent returns the keys of the active pieces of a collection, in the order of their positions, and its versions, latest first.
func readContent(ctx context.Context, q operate.Querier, id uuid.UUID, mostPieces, mostVersions int) (pieces []string, versions []Version, err error) {
	pieces, err = operate.Collect(ctx, q, pgx.RowTo[string], `
		SELECT p.piece_key FROM public.iu_piece_membership AS m JOIN public.iu_piece AS p ON p.id = m.piece_id
		WHERE m.collection_id = $1::text::uuid AND m.is_active ORDER BY m.position, p.id LIMIT $2`, id.String(), mostPieces)
	if err != nil {
		return nil, nil, fmt.Errorf("read the pieces of a template: %w", err)
	}
	versions, err = operate.Collect(ctx, q, pgx.RowToStructByPos[Version], `
		SELECT v.version, v.digest, v.recorded_by, v.created_at FROM public.iu_collection_template_version AS v
		WHERE v.collection_id = $1::text::uuid ORDER BY v.version DESC LIMIT $2`, id.String(), mostVersions)
	if err != nil {
		return nil, nil, fmt.Errorf("read the versions of a template: %w", err)
	}
	return pieces, versions, nil
}

// Keys returns the keys that begin with a prefix, for completion.
func Keys(ctx context.Context, q operate.Querier, prefix string, limit int) ([]string, error) {
	keys, err := operate.Collect(ctx, q, pgx.RowTo[string], `
		SELECT t.collection_key FROM iu_outbox.template AS t
		WHERE pg_catalog.starts_with(t.collection_key, $1) ORDER BY t.collection_key LIMIT $2`, prefix, limit)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	return keys, nil
}
