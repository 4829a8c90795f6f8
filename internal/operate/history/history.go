package history

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// Range is a span of history that pages show. Each Point covers a Step of it.
type Range struct {
	Name string // such as 6h
	Span time.Duration
	Step time.Duration
}

// Ranges lists the ranges, shortest first. The history is retained for the longest.
var Ranges = []Range{
	{"1h", time.Hour, time.Minute},
	{"6h", 6 * time.Hour, 5 * time.Minute},
	{"24h", 24 * time.Hour, 15 * time.Minute},
	{"7d", 7 * 24 * time.Hour, 2 * time.Hour},
}

// RangeOf returns the range with that name, or the shortest one if there is none.
func RangeOf(name string) Range {
	i := slices.IndexFunc(Ranges, func(r Range) bool { return r.Name == name })
	return Ranges[max(i, 0)]
}

// Point sums up the minutes of a step. Counts are sums. P50 is the mean, weighted by how many events each minute measured; P95 and
// AnnounceP95 are the highest. What waits is the most at the end of a minute, and Workers the fewest alive. nil: not known.
type Point struct {
	At    time.Time `json:"at"`    // when the step began
	Known bool      `json:"known"` // false: no worker counted, a gap

	Inserted     *int64 `json:"inserted"` // rows into the outbox
	Composed     int64  `json:"composed"` // live instances; those of scale-outs are apart
	Scaleout     int64  `json:"scaleout"` // live instances by scale-outs
	DryRun       int64  `json:"dry_run"`
	Dead         int64  `json:"dead"`
	AfterParking int64  `json:"after_parking"` // of Composed: those that had been parked; P50 and P95 leave them out
	Announced    int64  `json:"announced"`

	P50         *float64 `json:"p50_seconds"` // from INSERT, or available_at if that is later, to the end of the job
	P95         *float64 `json:"p95_seconds"`
	AnnounceP95 *float64 `json:"announce_p95_seconds"` // from instance to announcement

	Outbox         *int64   `json:"outbox"`
	OutboxAge      *float64 `json:"outbox_age_seconds"` // of the oldest row
	Unannounced    *int64   `json:"unannounced"`
	UnannouncedAge *float64 `json:"unannounced_age_seconds"`

	ParkedComposer        *int64 `json:"parked_composer"`
	ParkedAutoInstantiate *int64 `json:"parked_auto_instantiate"`
	Held                  *int64 `json:"held"` // by a fault of the installation
	Workers               *int64 `json:"workers"`
}

// MarkKind is the kind of a Mark.
type MarkKind string

// Kinds of marks.
const (
	MarkGate    MarkKind = "gate"    // a gate was opened or closed
	MarkVersion MarkKind = "version" // a version runs that did not run before
	MarkStart   MarkKind = "start"   // workers started
)

// Mark is a moment that explains what a chart shows.
type Mark struct {
	At   time.Time `json:"at"`
	Kind MarkKind  `json:"kind"`
	Text string    `json:"text"`         // such as "composer closed"
	By   string    `json:"by,omitempty"` // who did it, if anybody
}

// Series has a Point for each step of a range, oldest first. The last step is in progress.
type Series struct {
	From   time.Time     `json:"from"`
	Until  time.Time     `json:"until"` // now
	Step   time.Duration `json:"step"`
	Points []Point       `json:"points"`
	Marks  []Mark        `json:"marks"` // oldest first
}

// eventSeq is the last id that the outbox has given.
const eventSeq = "(SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM iu_outbox.event_id_seq AS s)"

// historySQL reads the columns of Point for each step of length $3 from $1 to $2. The minute that began at $5 is in progress at $4: it
// is counted now, from a sample of a few thousand jobs. So is the minute before it until it is written.
const historySQL = `
	WITH step AS (
		SELECT s.at FROM pg_catalog.generate_series($1::timestamptz, $2::timestamptz, $3::interval) AS s (at)
	), written AS (
		SELECT h.at, h.inserted, h.composed, h.scaleout, h.dry_run, h.dead, h.after_parking, h.announced, h.measured, h.p50, h.p95,
			h.announce_p95, h.outbox, h.outbox_age, h.unannounced, h.unannounced_age, h.parked_composer, h.parked_auto_instantiate,
			h.held, h.workers
		FROM iu_outbox.history AS h
		WHERE h.at >= $1 AND h.at <= $4
	), unwritten AS (
		SELECT m.at, LEAST(m.at + interval '1 minute', $4::timestamptz) AS until
		FROM pg_catalog.generate_series($5::timestamptz - interval '1 minute', $5::timestamptz, interval '1 minute') AS m (at)
		WHERE NOT EXISTS (SELECT FROM iu_outbox.history AS h WHERE h.at = m.at)
	), counted AS MATERIALIZED (
		SELECT * FROM written
		UNION ALL
		SELECT u.at, (SELECT GREATEST(` + eventSeq + ` - h.event_seq, 0) FROM iu_outbox.history AS h WHERE h.at = u.at - interval '1 minute'),
			c.composed, c.scaleout, c.dry_run, c.dead, c.after_parking, c.announced, c.measured, c.p50, c.p95, c.announce_p95,
			NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
		FROM unwritten AS u CROSS JOIN LATERAL iu_outbox.count_minute(u.at, u.until, 12, 250) AS c
	), summed AS (
		SELECT pg_catalog.date_bin($3::interval, c.at, '2000-01-01 00:00:00+00') AS at,
			pg_catalog.sum(c.inserted)::bigint AS inserted, pg_catalog.sum(c.composed) AS composed,
			pg_catalog.sum(c.scaleout) AS scaleout, pg_catalog.sum(c.dry_run) AS dry_run, pg_catalog.sum(c.dead) AS dead,
			pg_catalog.sum(c.after_parking) AS after_parking, pg_catalog.sum(c.announced)::bigint AS announced,
			(pg_catalog.sum(c.p50::double precision * c.measured) / NULLIF(pg_catalog.sum(c.measured), 0)) AS p50,
			pg_catalog.max(c.p95)::double precision AS p95, pg_catalog.max(c.announce_p95)::double precision AS announce_p95,
			pg_catalog.max(c.outbox)::bigint AS outbox, pg_catalog.max(c.outbox_age)::double precision AS outbox_age,
			pg_catalog.max(c.unannounced)::bigint AS unannounced, pg_catalog.max(c.unannounced_age)::double precision AS unannounced_age,
			pg_catalog.max(c.parked_composer)::bigint AS parked_composer,
			pg_catalog.max(c.parked_auto_instantiate)::bigint AS parked_auto_instantiate,
			pg_catalog.max(c.held)::bigint AS held, pg_catalog.min(c.workers)::bigint AS workers
		FROM counted AS c
		GROUP BY 1
	)
	SELECT s.at, h.at IS NOT NULL, h.inserted, COALESCE(h.composed, 0), COALESCE(h.scaleout, 0), COALESCE(h.dry_run, 0),
		COALESCE(h.dead, 0), COALESCE(h.after_parking, 0), COALESCE(h.announced, 0), h.p50, h.p95, h.announce_p95,
		h.outbox, h.outbox_age, h.unannounced, h.unannounced_age, h.parked_composer, h.parked_auto_instantiate, h.held, h.workers
	FROM step AS s LEFT JOIN summed AS h ON h.at = s.at
	ORDER BY s.at`

// window is a range of the history that ends now.
type window struct {
	Range

	from, last time.Time // when the first and the last step begin; the last is in progress
	now        time.Time // by the server's clock
}

// windowOf returns the window of the shortest of Ranges that covers span. Its steps are at least least long.
func windowOf(ctx context.Context, q operate.Querier, span, least time.Duration) (window, error) {
	w := window{Range: Ranges[len(Ranges)-1]}
	if i := slices.IndexFunc(Ranges, func(r Range) bool { return span <= r.Span }); i >= 0 {
		w.Range = Ranges[i]
	}
	if err := q.QueryRow(ctx, "SELECT pg_catalog.clock_timestamp()").Scan(&w.now); err != nil {
		return w, fmt.Errorf("read the history: %w", err)
	}
	w.Step = max(w.Step, least)
	w.now = w.now.UTC()
	w.last = w.now.Truncate(w.Step)
	w.from = w.last.Add(w.Step - w.Span)
	return w, nil
}

// steps returns how many there are.
func (w window) steps() int { return int(w.Span / w.Step) }

// Read returns the history of the shortest of Ranges that covers span, up to now.
func Read(ctx context.Context, q operate.Querier, span time.Duration) (Series, error) {
	w, err := windowOf(ctx, q, span, 0)
	if err != nil {
		return Series{}, err
	}
	s := Series{From: w.from, Until: w.now, Step: w.Step}
	s.Points, err = operate.Collect(ctx, q, pgx.RowToStructByPos[Point], historySQL, w.from, w.last, w.Step, w.now, w.now.Truncate(time.Minute))
	if err != nil {
		return s, fmt.Errorf("read the history: %w", err)
	}
	if s.Marks, err = operate.Collect(ctx, q, pgx.RowToStructByPos[Mark], marksSQL, w.from); err != nil {
		return s, fmt.Errorf("read the history's marks: %w", err)
	}
	return s, nil
}

// marksSQL reads the latest 500 marks since $1, oldest first. Commands and pages that change a gate leave an audit line; of changes
// by SQL only the last one is known. It reads the last 5000 lines of the audit, because no index leads to a time.
const marksSQL = `SELECT * FROM (
	WITH moved AS (
		SELECT a.at, a.detail ->> 'gate' AS gate, a.action = 'gate.open' AS open, a.actor
		FROM (SELECT a.* FROM iu_outbox.audit AS a ORDER BY a.id DESC LIMIT 5000) AS a
		WHERE a.action IN ('gate.open', 'gate.close') AND a.at >= $1
	), by_hand AS (
		SELECT g.updated_at, g.gate, g.open, g.updated_by
		FROM iu_outbox.gate_status() AS g
		WHERE g.updated_at >= $1 AND NOT EXISTS (
			SELECT FROM moved AS m WHERE m.gate = g.gate AND m.at BETWEEN g.updated_at - interval '5 seconds' AND g.updated_at + interval '5 seconds')
	), minute AS (
		SELECT h.at, h.started, h.versions, pg_catalog.lag(h.versions) OVER (ORDER BY h.at) AS before
		FROM iu_outbox.history AS h WHERE h.at >= $1 AND h.versions IS NOT NULL
	), version AS (
		SELECT m.at, v.version FROM minute AS m CROSS JOIN LATERAL pg_catalog.unnest(m.versions) AS v (version)
		WHERE v.version <> ALL (m.before)
	)
	SELECT m.at, 'gate', m.gate || CASE WHEN m.open THEN ' opened' ELSE ' closed' END, COALESCE(m.actor, '')
	FROM (SELECT * FROM moved UNION ALL SELECT * FROM by_hand) AS m
	WHERE m.gate IS NOT NULL
	UNION ALL
	SELECT v.at, 'version', 'version ' || v.version, '' FROM version AS v
	UNION ALL
	SELECT m.at, 'start', CASE m.started WHEN 1 THEN 'a worker started' ELSE m.started || ' workers started' END, ''
	FROM minute AS m
	WHERE m.started > 0 AND NOT EXISTS (SELECT FROM version AS v WHERE v.at = m.at)
	ORDER BY 1 DESC
	LIMIT 500) AS m ORDER BY 1`

// ConsumerLag is how far behind a consumer was, an element for each step. nil: not known, a gap.
type ConsumerLag struct {
	Name string   `json:"name"`
	Lag  []*int64 `json:"lag"` // the most in the step
}

// ConsumerSeries is the history of consumers' lags.
type ConsumerSeries struct {
	From      time.Time     `json:"from"`
	Until     time.Time     `json:"until"`
	Step      time.Duration `json:"step"`
	Consumers []ConsumerLag `json:"consumers"` // by name
}

// At returns when a step began.
func (s ConsumerSeries) At(step int) time.Time { return s.From.Add(time.Duration(step) * s.Step) }

// Consumers returns the lags of the consumers with these names, or of all consumers without names, in the shortest of Ranges that
// covers span. It reads every fifth minute of a day and every twentieth of a week. The last step has the current lag.
func Consumers(ctx context.Context, q operate.Querier, span time.Duration, names ...string) (ConsumerSeries, error) {
	w, err := windowOf(ctx, q, span, 0)
	if err != nil {
		return ConsumerSeries{}, err
	}
	s := ConsumerSeries{From: w.from, Until: w.now, Step: w.Step}
	each := time.Minute
	switch {
	case w.Step > time.Hour:
		each = 20 * time.Minute
	case w.Step > 5*time.Minute:
		each = 5 * time.Minute
	}
	s.Consumers, err = operate.Collect(ctx, q, func(row pgx.CollectableRow) (c ConsumerLag, err error) {
		var at []int64
		var lag []*int64
		err = row.Scan(&c.Name, &at, &lag)
		c.Lag = make([]*int64, w.steps())
		for i, second := range at {
			if step := int(time.Unix(second, 0).Sub(w.from) / w.Step); step >= 0 && step < len(c.Lag) {
				c.Lag[step] = lag[i]
			}
		}
		return c, err
	}, `
		WITH lag AS (
			SELECT h.at, h.consumer, h.lag
			FROM pg_catalog.generate_series($1::timestamptz, $2::timestamptz, $4::interval) AS m (at)
			JOIN iu_outbox.history_consumer AS h ON h.at = m.at AND ($5::text[] IS NULL OR h.consumer = ANY ($5))
			UNION ALL
			SELECT $2, c.name, c.lag_events FROM iu_outbox.consumer_status AS c
			WHERE $5::text[] IS NULL OR c.name = ANY ($5)
		), summed AS (
			SELECT l.consumer, pg_catalog.date_bin($3::interval, l.at, '2000-01-01 00:00:00+00') AS at, pg_catalog.max(l.lag) AS lag
			FROM lag AS l
			GROUP BY 1, 2
		)
		SELECT s.consumer, pg_catalog.array_agg(EXTRACT(EPOCH FROM s.at)::bigint), pg_catalog.array_agg(s.lag)
		FROM summed AS s
		GROUP BY s.consumer
		ORDER BY s.consumer`, w.from, w.now, w.Step, each, names)
	if err != nil {
		return s, fmt.Errorf("read the consumers' history: %w", err)
	}
	return s, nil
}

// TemplateSum counts the events of a template. Minutes in which fifty other templates had more events are not counted.
type TemplateSum struct {
	ID       uuid.UUID `json:"id"`
	Key      string    `json:"collection_key"` // "" if there is no such collection
	Composed int64     `json:"composed"`       // live and dry run
	Dead     int64     `json:"dead"`
	P95      *float64  `json:"p95_seconds"` // the highest of its minutes; parked events and scale-outs left out
	Points   []int64   `json:"points"`      // composed and dead, an element for each step
}

// TemplateSeries is the history of the templates that were used most.
type TemplateSeries struct {
	From      time.Time     `json:"from"`
	Until     time.Time     `json:"until"`
	Step      time.Duration `json:"step"`
	Templates []TemplateSum `json:"templates"` // most events first
	More      int           `json:"more"`      // how many others were used
}

// templateStep is the span that a row of history_template covers.
const templateStep = 5 * time.Minute

// Templates returns up to limit templates, those with the most events first, in the shortest of Ranges that covers span. Its steps
// are at least 5 minutes, and the last few minutes may be missing.
func Templates(ctx context.Context, q operate.Querier, span time.Duration, limit int) (TemplateSeries, error) {
	return readTemplates(ctx, q, span, limit, nil)
}

// Template returns the history of one template, as Templates does. If nothing was made of it, its counts are 0.
func Template(ctx context.Context, q operate.Querier, template uuid.UUID, span time.Duration) (TemplateSeries, error) {
	s, err := readTemplates(ctx, q, span, 1, new(template.String()))
	if err == nil && len(s.Templates) == 0 {
		s.Templates = []TemplateSum{{ID: template, Points: make([]int64, int(s.Until.Sub(s.From)/s.Step)+1)}}
	}
	return s, err
}

// readTemplates reads the history of all templates, or of one.
func readTemplates(ctx context.Context, q operate.Querier, span time.Duration, limit int, only *string) (TemplateSeries, error) {
	w, err := windowOf(ctx, q, span, templateStep)
	if err != nil {
		return TemplateSeries{}, err
	}
	s := TemplateSeries{From: w.from, Until: w.now, Step: w.Step}
	s.Templates, err = operate.Collect(ctx, q, func(row pgx.CollectableRow) (t TemplateSum, err error) {
		var used int
		var points map[int]int64 // by step
		err = row.Scan(&t.ID, &t.Key, &t.Composed, &t.Dead, &t.P95, &used, &points)
		s.More = max(0, used-limit)
		t.Points = make([]int64, w.steps())
		for step, n := range points {
			if step < len(t.Points) {
				t.Points[step] = n
			}
		}
		return t, err
	}, `
		WITH summed AS MATERIALIZED (
			SELECT h.template_collection_id AS id, pg_catalog.date_bin($2::interval, h.at, $1::timestamptz) AS at,
				pg_catalog.sum(h.composed) AS composed, pg_catalog.sum(h.dead) AS dead, pg_catalog.max(h.p95) AS p95
			FROM iu_outbox.history_template AS h
			WHERE h.at >= $1 AND ($4::text IS NULL OR h.template_collection_id = $4::text::uuid)
			GROUP BY 1, 2
		), used AS (
			SELECT s.id, pg_catalog.sum(s.composed) AS composed, pg_catalog.sum(s.dead) AS dead, pg_catalog.max(s.p95) AS p95,
				pg_catalog.count(*) OVER () AS templates,
				pg_catalog.jsonb_object_agg((EXTRACT(EPOCH FROM s.at - $1) / EXTRACT(EPOCH FROM $2::interval))::bigint, s.composed + s.dead) AS points
			FROM summed AS s
			GROUP BY s.id
			ORDER BY pg_catalog.sum(s.composed + s.dead) DESC, s.id
			LIMIT $3
		)
		SELECT u.id, COALESCE((SELECT c.collection_key FROM public.iu_piece_collection AS c WHERE c.id = u.id), ''),
			u.composed, u.dead, u.p95::double precision, u.templates, u.points
		FROM used AS u
		ORDER BY u.composed + u.dead DESC, u.id`, w.from, w.Step, limit, only)
	if err != nil {
		return s, fmt.Errorf("read the templates' history: %w", err)
	}
	return s, nil
}

// Pace is the throughput, in events per second, and what waits. nil: not known.
type Pace struct {
	In             *float64 `json:"in_per_second"` // rows into the outbox
	Composed       *float64 `json:"composed_per_second"`
	Announced      *float64 `json:"announced_per_second"`
	Outbox         *int64   `json:"outbox"`
	OutboxAge      *float64 `json:"outbox_age_seconds"`
	Unannounced    *int64   `json:"unannounced"`
	UnannouncedAge *float64 `json:"unannounced_age_seconds"`
	AnnounceP95    *float64 `json:"announce_p95_seconds"`
	P95            *float64 `json:"p95_seconds"` // as in Point
}

// Paces is the pace of the last minute, and of the five minutes around the same time yesterday.
type Paces struct {
	At        time.Time `json:"at"`
	Now       Pace      `json:"now"`
	Yesterday *Pace     `json:"yesterday"` // nil: nothing is known of that time
}

// ReadPaces reads the pace now and yesterday. Composed counts live instances, including those of scale-outs, and dry runs.
func ReadPaces(ctx context.Context, q operate.Querier) (Paces, error) {
	var p Paces
	n := &p.Now
	err := q.QueryRow(ctx, `
		SELECT n.at, (
				SELECT GREATEST(`+eventSeq+` - h.event_seq, 0) / EXTRACT(EPOCH FROM n.at - h.counted_at)::double precision
				FROM iu_outbox.history AS h
				WHERE h.at > n.at - interval '4 minutes' AND h.counted_at <= n.at - interval '20 seconds'
				ORDER BY h.at DESC LIMIT 1),
			(c.composed + c.scaleout + c.dry_run) / 60.0, c.announced / 60.0, c.announce_p95::double precision, c.p95::double precision,
			(SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.event LIMIT $1) AS e),
			(SELECT GREATEST(0, EXTRACT(EPOCH FROM n.at - e.created_at))::double precision FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1),
			(SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.emission AS e WHERE e.position IS NULL LIMIT $1) AS e),
			(SELECT GREATEST(0, EXTRACT(EPOCH FROM n.at - e.created_at))::double precision FROM iu_outbox.emission AS e
			 WHERE e.position IS NULL ORDER BY e.id LIMIT 1)
		FROM (SELECT pg_catalog.clock_timestamp() AS at) AS n
		CROSS JOIN LATERAL iu_outbox.count_minute(n.at - interval '1 minute', n.at, 12, 250) AS c`, operate.CountLimit+1).
		Scan(&p.At, &n.In, &n.Composed, &n.Announced, &n.AnnounceP95, &n.P95, &n.Outbox, &n.OutboxAge, &n.Unannounced, &n.UnannouncedAge)
	if err != nil {
		return p, fmt.Errorf("read the pace: %w", err)
	}
	var y Pace
	var minutes int
	err = q.QueryRow(ctx, `
		SELECT pg_catalog.count(*), pg_catalog.avg(h.inserted) / 60.0, pg_catalog.avg(h.composed + h.scaleout + h.dry_run) / 60.0,
			pg_catalog.avg(h.announced) / 60.0, pg_catalog.max(h.announce_p95)::double precision, pg_catalog.max(h.p95)::double precision,
			pg_catalog.max(h.outbox)::bigint, pg_catalog.max(h.outbox_age)::double precision,
			pg_catalog.max(h.unannounced)::bigint, pg_catalog.max(h.unannounced_age)::double precision
		FROM iu_outbox.history AS h
		WHERE h.at > $1::timestamptz - interval '24 hours 3 minutes' AND h.at <= $1::timestamptz - interval '23 hours 58 minutes'`, p.At).
		Scan(&minutes, &y.In, &y.Composed, &y.Announced, &y.AnnounceP95, &y.P95, &y.Outbox, &y.OutboxAge, &y.Unannounced, &y.UnannouncedAge)
	if err != nil {
		return p, fmt.Errorf("read the pace of yesterday: %w", err)
	}
	if minutes > 0 {
		p.Yesterday = &y
	}
	return p, nil
}
