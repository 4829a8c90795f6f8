package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TemplateLine is a template in a list.
type TemplateLine struct {
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

// Templates returns up to limit templates whose keys come after a key, in the order of their keys.
func Templates(ctx context.Context, q Querier, after string, limit int) ([]TemplateLine, error) {
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

func scanTemplateLine(row pgx.CollectableRow) (l TemplateLine, err error) {
	err = row.Scan(&l.ID, &l.Key, &l.Title, &l.Pieces, &l.Version, &l.Instances, &l.LastAt)
	return l, err
}

// TemplateDetail is a template with its pieces and versions.
type TemplateDetail struct {
	TemplateLine

	PieceKeys []string          `json:"piece_keys"` // active ones, in the order of their positions
	Versions  []TemplateVersion `json:"versions"`   // the latest one first
}

// TemplateVersion is a recorded content of a template.
type TemplateVersion struct {
	Version    int        `json:"version"`
	Digest     *string    `json:"digest"`
	RecordedBy *string    `json:"recorded_by"`
	CreatedAt  *time.Time `json:"created_at"`
}

// ShowTemplate returns the template with that collection key, or with that id. A TemplateNotFoundError if there is none.
func ShowTemplate(ctx context.Context, q Querier, reference string) (detail TemplateDetail, err error) {
	found, err := FindTemplate(ctx, q, reference)
	if err != nil {
		return detail, err
	}
	rows, err := q.Query(ctx, templateLineSQL+` WHERE t.id = $1`, found.ID)
	if err == nil {
		detail.TemplateLine, err = pgx.CollectExactlyOneRow(rows, scanTemplateLine)
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
		detail.Versions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[TemplateVersion])
	}
	if err != nil {
		return detail, fmt.Errorf("read the versions of the template %q: %w", found.Key, err)
	}
	return detail, nil
}

// Errors of making templates.
var (
	ErrNoPiece      = errors.New("no such piece")
	ErrNoCollection = errors.New("no such collection")
)

// MarkedTemplate is what marking a collection returned.
type MarkedTemplate struct {
	ID         uuid.UUID `json:"id"`
	Key        string    `json:"collection_key"`
	IsTemplate bool      `json:"is_template"`
	Version    *int      `json:"version"`
	Digest     *string   `json:"digest"`
}

// CreateTemplate composes a collection of pieces, named by their keys in this order, and marks it as a template, with an
// audit line, in one transaction. ErrNoPiece names the pieces that do not exist.
func CreateTemplate(ctx context.Context, db *pgxpool.Pool, actor, key, title string, pieces []string) (marked MarkedTemplate, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		ids, err := pieceIDs(ctx, tx, pieces)
		if err != nil {
			return err
		}
		var status string
		var detail *string
		err = tx.QueryRow(ctx, `
			SELECT c.answer ->> 'status', c.answer ->> 'detail'
			FROM (SELECT public.fn_iu_compose($1, $2, $3::text[]::uuid[], $4) AS answer) AS c`, key, title, ids, actor).Scan(&status, &detail)
		switch {
		case err != nil:
			return fmt.Errorf("compose the collection %q: %w", key, err)
		case status == "composer_disabled":
			return errors.New("the gate composer is closed; open it first: iuworker gate open composer")
		case status == "key_conflict":
			return fmt.Errorf("the collection %q exists already; to mark it, run: iuworker templates mark %s", key, key)
		case status != "composed":
			return fmt.Errorf("compose the collection %q: %s: %s", key, status, deref(detail))
		}
		if marked, err = MarkCollection(ctx, tx, key, actor, true); err != nil {
			return err
		}
		_, err = RecordAudit(ctx, tx, actor, "template.create", map[string]any{"template": key, "pieces": len(pieces)})
		return err
	})
	return marked, err
}

// MarkTemplate marks a collection as a template, or no longer as one, with an audit line.
func MarkTemplate(ctx context.Context, db *pgxpool.Pool, actor, key string, isTemplate bool) (marked MarkedTemplate, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if marked, err = MarkCollection(ctx, tx, key, actor, isTemplate); err != nil {
			return err
		}
		action := "template.mark"
		if !isTemplate {
			action = "template.unmark"
		}
		_, err = RecordAudit(ctx, tx, actor, action, map[string]any{"template": key})
		return err
	})
	return marked, err
}

// MarkCollection marks a collection as a template, or no longer as one. The caller writes the audit line, in the same transaction.
func MarkCollection(ctx context.Context, tx pgx.Tx, key, actor string, isTemplate bool) (MarkedTemplate, error) {
	marked := MarkedTemplate{Key: key, IsTemplate: isTemplate}
	var status string
	err := tx.QueryRow(ctx, `
		SELECT c.id, m.answer ->> 'status', (m.answer ->> 'version')::integer, m.answer ->> 'digest'
		FROM public.iu_piece_collection AS c
		CROSS JOIN LATERAL public.fn_iu_collection_mark_template(c.id, $2, $3) AS m (answer)
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
func pieceIDs(ctx context.Context, tx pgx.Tx, keys []string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		SELECT k.key, p.id::text FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS k (key, n)
		LEFT JOIN public.iu_piece AS p ON p.piece_key = k.key ORDER BY k.n`, keys)
	if err != nil {
		return nil, fmt.Errorf("look for pieces: %w", err)
	}
	var key string
	var id *string
	var ids, missing []string
	_, err = pgx.ForEachRow(rows, []any{&key, &id}, func() error {
		if id == nil {
			missing = append(missing, fmt.Sprintf("%q", key))
			return nil
		}
		ids = append(ids, *id)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for pieces: %w", err)
	case len(missing) > 0:
		return nil, fmt.Errorf("%w: %s", ErrNoPiece, joined(missing))
	}
	return ids, nil
}

func joined(names []string) string {
	const most = 5
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// TemplateKeys returns the keys that begin with a prefix, for completion.
func TemplateKeys(ctx context.Context, q Querier, prefix string, limit int) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT t.collection_key FROM iu_outbox.template AS t
		WHERE pg_catalog.starts_with(t.collection_key, $1) ORDER BY t.collection_key LIMIT $2`, prefix, limit)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return slices.Clip(keys), err
}
