package templates

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// The most instances and dead letters of a template that a list counts. Counting a dead letter reads it.
const (
	instancesCounted = 1000
	lettersCounted   = 100
)

// Row is a collection that is, or was, marked as a template.
type Row struct {
	Template

	Marked      bool          `json:"marked"`
	Pieces      int64         `json:"pieces"`  // active ones
	Version     *int          `json:"version"` // nil if none was recorded
	Instances   operate.Count `json:"instances"`
	LastHour    int64         `json:"last_hour"` // live and dry run; the history has only the busiest templates of every five minutes
	LastDay     int64         `json:"last_day"`
	DeadLetters operate.Count `json:"dead_letters"`
	State       string        `json:"state"` // marked, not marked or empty
}

// Page chooses templates in the order of their keys: up to Limit whose keys are above After, or the nearest ones below Before. If
// Search is not empty, their keys or titles contain it, regardless of case.
type Page struct {
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

// ReadPage returns a page of the templates, and how many templates match Search in total.
func ReadPage(ctx context.Context, q operate.Querier, page Page) (templates []Row, total int64, err error) {
	bound, order := "t.collection_key > $2", "t.collection_key"
	key := page.After
	if page.Before != "" {
		bound, order, key = "t.collection_key < $2", "t.collection_key DESC", page.Before
	}
	upTo := func(n, most int64) operate.Count { return operate.Count{N: min(n, most), More: n > most} }
	templates, err = operate.Collect(ctx, q, func(row pgx.CollectableRow) (t Row, err error) {
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
	}, `
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
	if len(templates) == 0 { // a page past the end has no total
		err = q.QueryRow(ctx, `WITH `+templatesFound+` SELECT pg_catalog.count(*) FROM found`, page.Search).Scan(&total)
		if err != nil {
			return nil, 0, fmt.Errorf("count templates: %w", err)
		}
	}
	return templates, total, nil
}

// State is a template as its own page shows it.
type State struct {
	Template

	Marked    bool
	PieceKeys []string      // active ones, in the order of their positions
	Versions  []Version     // the latest one first
	Digest    *string       // of its current content
	Instances operate.Count // up to ten thousand
	Dead      operate.Count // dead letters, up to ten thousand
}

// Drifted reports whether the content differs from the latest recorded version.
func (t State) Drifted() bool {
	return len(t.Versions) > 0 && t.Digest != nil && (t.Versions[0].Digest == nil || *t.Versions[0].Digest != *t.Digest)
}

const (
	piecesShown   = 500
	versionsShown = 50
)

// Read returns the collection with that key, marked as a template or not. It returns operate.ErrNoCollection if there is none.
func Read(ctx context.Context, q operate.Querier, key string) (t State, err error) {
	err = q.QueryRow(ctx, `
		SELECT c.id, c.collection_key, c.title, COALESCE(r.is_template, false),
			public.fn_iu_collection_digest(c.id),
			(SELECT pg_catalog.count(*) FROM (
				SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.template_collection_id = c.id LIMIT $2) AS l),
			(SELECT pg_catalog.count(*) FROM (
				SELECT FROM iu_outbox.dead_letter AS d
				WHERE pg_catalog.left(d.event ->> 'template_collection_id', 36) = c.id::text LIMIT $2) AS d)
		FROM public.iu_piece_collection AS c
		LEFT JOIN public.iu_collection_template_registry AS r ON r.collection_id = c.id
		WHERE c.collection_key = $1`, key, operate.CountLimit+1).
		Scan(&t.ID, &t.Key, &t.Title, &t.Marked, &t.Digest, &t.Instances, &t.Dead)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, fmt.Errorf("%w: %q", operate.ErrNoCollection, key)
	}
	if err != nil {
		return t, fmt.Errorf("read the template %q: %w", key, err)
	}
	t.PieceKeys, t.Versions, err = readContent(ctx, q, t.ID, piecesShown, versionsShown)
	return t, err
}

// Instance is an instance of a template.
type Instance struct {
	ID             uuid.UUID
	Key            string // the instance's
	IdempotencyKey string
	Actor          string
	CreatedAt      time.Time
	Position       *int64 // nil: not announced yet
}

// recentEmissions is how many of the newest emissions RecentInstances reads.
const recentEmissions = 2000

// RecentInstances returns up to limit live instances of a template, latest first, among the last two thousand live instances of all
// templates: there is no index by template.
func RecentInstances(ctx context.Context, q operate.Querier, template uuid.UUID, limit int) ([]Instance, error) {
	instances, err := operate.Collect(ctx, q, pgx.RowToStructByPos[Instance], `
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
	return instances, nil
}
