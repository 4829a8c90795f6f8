package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Up to where the instances and the dead letters of a template are counted, in a list. Each dead letter is read.
const (
	instancesCounted = 1000
	lettersCounted   = 100
)

// TemplateRow is a collection that is, or was, marked as a template.
type TemplateRow struct {
	Template

	Marked      bool   `json:"marked"`
	Pieces      int64  `json:"pieces"`  // active ones
	Version     *int   `json:"version"` // nil if none was recorded
	Instances   Count  `json:"instances"`
	LastHour    int64  `json:"last_hour"` // of the history's busiest templates in each five minutes; live and dry run
	LastDay     int64  `json:"last_day"`
	DeadLetters Count  `json:"dead_letters"`
	State       string `json:"state"` // marked, not marked or empty
}

// TemplatePage is a part of the templates in the order of their keys: up to Limit whose keys are above After, or the nearest
// ones below Before. Search narrows it to those with that text in their keys or titles, whatever its case.
type TemplatePage struct {
	Search, After, Before string
	Limit                 int
}

const templatesFound = `
	found AS MATERIALIZED (
		SELECT c.id, c.collection_key, c.title, r.is_template
		FROM public.iu_collection_template_registry AS r JOIN public.iu_piece_collection AS c ON c.id = r.collection_id
		WHERE $1 = '' OR pg_catalog.strpos(pg_catalog.lower(c.collection_key), pg_catalog.lower($1)) > 0
		   OR pg_catalog.strpos(pg_catalog.lower(c.title), pg_catalog.lower($1)) > 0
	)`

// ListTemplates returns a page of the templates, and how many there are in all of them.
func ListTemplates(ctx context.Context, q Querier, page TemplatePage) (templates []TemplateRow, total int64, err error) {
	bound, order := "t.collection_key > $2", "t.collection_key"
	key := page.After
	if page.Before != "" {
		bound, order, key = "t.collection_key < $2", "t.collection_key DESC", page.Before
	}
	rows, err := q.Query(ctx, `
		WITH `+templatesFound+`, shown AS MATERIALIZED (
			SELECT t.* FROM found AS t WHERE `+bound+` ORDER BY `+order+` LIMIT $3
		), used AS MATERIALIZED (
			SELECT h.template_collection_id AS id, pg_catalog.sum(h.composed) AS day,
				pg_catalog.sum(h.composed) FILTER (WHERE h.at > pg_catalog.now() - interval '1 hour') AS hour
			FROM iu_outbox.history_template AS h
			WHERE h.at > pg_catalog.now() - interval '24 hours' AND h.template_collection_id = ANY (ARRAY(SELECT s.id FROM shown AS s))
			GROUP BY h.template_collection_id
		)
		SELECT t.id, t.collection_key, t.title, t.is_template,
			(SELECT pg_catalog.count(*) FROM public.iu_piece_membership AS m WHERE m.collection_id = t.id AND m.is_active),
			(SELECT pg_catalog.max(v.version) FROM public.iu_collection_template_version AS v WHERE v.collection_id = t.id),
			(SELECT pg_catalog.count(*) FROM (
				SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.template_collection_id = t.id LIMIT $4) AS l),
			(SELECT pg_catalog.count(*) FROM (
				SELECT FROM iu_outbox.dead_letter AS d
				WHERE pg_catalog.left(d.event ->> 'template_collection_id', 36) = t.id::text LIMIT $5) AS d),
			COALESCE(u.hour, 0)::bigint, COALESCE(u.day, 0)::bigint, (SELECT pg_catalog.count(*) FROM found AS f)
		FROM shown AS t LEFT JOIN used AS u ON u.id = t.id
		ORDER BY t.collection_key`, page.Search, key, page.Limit, instancesCounted+1, lettersCounted+1)
	if err != nil {
		return nil, 0, fmt.Errorf("list templates: %w", err)
	}
	upTo := func(n, most int64) Count { return Count{N: min(n, most), More: n > most} }
	templates, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t TemplateRow, err error) {
		var instances, dead int64
		err = row.Scan(&t.ID, &t.Key, &t.Title, &t.Marked, &t.Pieces, &t.Version, &instances, &dead, &t.LastHour, &t.LastDay, &total)
		t.Instances, t.DeadLetters = upTo(instances, instancesCounted), upTo(dead, lettersCounted)
		switch {
		case !t.Marked:
			t.State = "not marked"
		case t.Pieces == 0:
			t.State = "empty"
		default:
			t.State = "marked"
		}
		return t, err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list templates: %w", err)
	}
	if len(templates) == 0 { // a page past the end says nothing of the others
		err = q.QueryRow(ctx, `WITH `+templatesFound+` SELECT pg_catalog.count(*) FROM found`, page.Search).Scan(&total)
		if err != nil {
			return nil, 0, fmt.Errorf("count templates: %w", err)
		}
	}
	return templates, total, nil
}

// TemplateState is a template as its own page shows it.
type TemplateState struct {
	Template

	Marked    bool
	PieceKeys []string          // active ones, in the order of their positions
	Versions  []TemplateVersion // the latest one first
	Digest    *string           // of what it consists of now
	Instances Count             // up to ten thousand
	Dead      Count             // dead letters, up to ten thousand
}

// Drifted reports whether the content is another than the latest recorded version.
func (t TemplateState) Drifted() bool {
	return len(t.Versions) > 0 && t.Digest != nil && (t.Versions[0].Digest == nil || *t.Versions[0].Digest != *t.Digest)
}

const (
	piecesShown   = 500
	versionsShown = 50
)

// ReadTemplate returns the collection with that key, marked as a template or not; ErrNoCollection if there is none.
func ReadTemplate(ctx context.Context, q Querier, key string) (t TemplateState, err error) {
	var instances, dead int64
	err = q.QueryRow(ctx, `
		SELECT c.id, c.collection_key, c.title, COALESCE(r.is_template, false),
			ARRAY(SELECT p.piece_key FROM public.iu_piece_membership AS m JOIN public.iu_piece AS p ON p.id = m.piece_id
			      WHERE m.collection_id = c.id AND m.is_active ORDER BY m.position, p.id LIMIT $2),
			public.fn_iu_collection_digest(c.id),
			(SELECT pg_catalog.count(*) FROM (
				SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.template_collection_id = c.id LIMIT $3) AS l),
			(SELECT pg_catalog.count(*) FROM (
				SELECT FROM iu_outbox.dead_letter AS d
				WHERE pg_catalog.left(d.event ->> 'template_collection_id', 36) = c.id::text LIMIT $3) AS d)
		FROM public.iu_piece_collection AS c
		LEFT JOIN public.iu_collection_template_registry AS r ON r.collection_id = c.id
		WHERE c.collection_key = $1`, key, piecesShown, CountLimit+1).
		Scan(&t.ID, &t.Key, &t.Title, &t.Marked, &t.PieceKeys, &t.Digest, &instances, &dead)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, fmt.Errorf("%w: %q", ErrNoCollection, key)
	}
	if err != nil {
		return t, fmt.Errorf("read the template %q: %w", key, err)
	}
	t.Instances, t.Dead = Counted(instances), Counted(dead)
	rows, err := q.Query(ctx, `
		SELECT v.version, v.digest, v.recorded_by, v.created_at FROM public.iu_collection_template_version AS v
		WHERE v.collection_id = $1::text::uuid ORDER BY v.version DESC LIMIT $2`, t.ID.String(), versionsShown)
	if err == nil {
		t.Versions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[TemplateVersion])
	}
	if err != nil {
		return t, fmt.Errorf("read the versions of the template %q: %w", key, err)
	}
	return t, nil
}

// TemplateInstance is an instance in the list of a template's.
type TemplateInstance struct {
	ID             uuid.UUID
	Key            string // the instance's
	IdempotencyKey string
	Actor          string
	CreatedAt      time.Time
	Position       *int64 // nil: not announced yet
}

// recentEmissions are the emissions among which RecentOf looks.
const recentEmissions = 2000

// RecentOf returns up to limit live instances of a template, the latest first, among the last two thousand live instances of
// all templates: no index leads to a template's own.
func RecentOf(ctx context.Context, q Querier, template uuid.UUID, limit int) ([]TemplateInstance, error) {
	rows, err := q.Query(ctx, `
		SELECT l.instance_collection_id, c.collection_key, l.idempotency_key, l.triggered_by, l.created_at, e.position
		FROM (
			SELECT e.id, e.instance_collection_id, e.position FROM iu_outbox.emission AS e
			WHERE e.rolled_back_at IS NULL ORDER BY e.id DESC LIMIT $2) AS e
		JOIN public.iu_auto_instantiate_event_log AS l ON l.instance_collection_id = e.instance_collection_id
		JOIN public.iu_piece_collection AS c ON c.id = l.instance_collection_id
		WHERE l.template_collection_id = $1::text::uuid
		ORDER BY e.id DESC LIMIT $3`, template.String(), recentEmissions, limit)
	if err != nil {
		return nil, fmt.Errorf("list the instances of a template: %w", err)
	}
	instances, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TemplateInstance])
	if err != nil {
		return nil, fmt.Errorf("list the instances of a template: %w", err)
	}
	return instances, nil
}

// TemplateHistoryOf returns what was made of one template, in the shortest of Ranges that covers span. It has no minutes in
// which fifty others were used more.
func TemplateHistoryOf(ctx context.Context, q Querier, template uuid.UUID, span time.Duration) (TemplateSeries, error) {
	w, err := windowOf(ctx, q, span, templateStep)
	if err != nil {
		return TemplateSeries{}, fmt.Errorf("read a template's history: %w", err)
	}
	s := TemplateSeries{From: w.from, Until: w.now, Step: w.Step}
	sum := TemplateSum{ID: template, Points: make([]int64, w.steps())}
	rows, err := q.Query(ctx, `
		SELECT pg_catalog.floor(EXTRACT(EPOCH FROM h.at - $1) / EXTRACT(EPOCH FROM $2::interval))::bigint,
			pg_catalog.sum(h.composed)::bigint, pg_catalog.sum(h.dead)::bigint, pg_catalog.max(h.p95)::double precision
		FROM iu_outbox.history_template AS h
		WHERE h.at >= $1 AND h.template_collection_id = $3::text::uuid
		GROUP BY 1`, w.from, w.Step, template.String())
	if err != nil {
		return s, fmt.Errorf("read a template's history: %w", err)
	}
	var at int
	var composed, dead int64
	var p95 *float64
	_, err = pgx.ForEachRow(rows, []any{&at, &composed, &dead, &p95}, func() error {
		sum.Composed, sum.Dead = sum.Composed+composed, sum.Dead+dead
		if p95 != nil && (sum.P95 == nil || *p95 > *sum.P95) {
			highest := *p95
			sum.P95 = &highest
		}
		if at < len(sum.Points) {
			sum.Points[at] = composed + dead
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("read a template's history: %w", err)
	}
	s.Templates = []TemplateSum{sum}
	return s, nil
}
