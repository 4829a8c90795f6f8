package webui_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/operate"
)

// bury inserts n dead letters for a template, one for each ten minutes up to now, with the suffixes s-1 to s-n.
func (b operating) bury(t *testing.T, n int, status, actor string, template uuid.UUID) {
	t.Helper()
	b.db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts, created_at)
		SELECT (SELECT COALESCE(max(job_id), 1000000) FROM iu_outbox.dead_letter) + n, $2, id, md5(id::text), pg_catalog.jsonb_build_object(
			'event_id', id, 'event_type', 'order.placed', 'template_collection_id', $4::uuid, 'instance_key_suffix', 's-' || n,
			'emit_mode', 'live', 'actor', $3::text, 'priority', 1), 'events', 1, now() - make_interval(mins => 10 * ($1 - n))
		FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, $1::integer) AS n) AS n ORDER BY n`, n, status, actor, template)
}

func TestDeadLettersAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.bury(t, 70, "template_empty", "shop", b.template)
	b.bury(t, 20, "cancelled", "bulk", uuid.New())

	page := b.get(t, "/dead-letters")
	shows(t, page, "90 dead letters")
	shows(t, page, `href="/templates/letter">letter</a>`)
	shows(t, page, "The template has no active piece. Add pieces to the template, then retry.")
	require.Equal(t, 50, strings.Count(page, `name="id"`))
	require.Less(t, strings.Index(page, ">s-20<"), strings.Index(page, ">s-1<"), "the latest come first")
	older := hrefOf(t, page, "Older")
	page = b.get(t, older)
	require.Equal(t, 40, strings.Count(page, `name="id"`))
	require.NotContains(t, page, ">Older<")
	require.Equal(t, 50, strings.Count(b.get(t, hrefOf(t, page, "Newer")), `name="id"`))

	for query, n := range map[string]int{
		"actor=bulk": 20, "actor=nobody": 0, "template=letter": 70, "template=" + b.template.String(): 70, "type=order.placed": 90,
		"status=cancelled": 20, "since=100m&actor=bulk": 10, "until=150m&actor=bulk": 5, "status=cancelled&actor=shop": 0,
	} {
		says := fmt.Sprintf("%d dead letters match", n)
		if n == 0 {
			says = "No dead letter matches"
		}
		shows(t, b.get(t, "/dead-letters?"+query), says, query)
	}
}

func hrefOf(t *testing.T, page, label string) string {
	t.Helper()
	before, _, ok := strings.Cut(page, ">"+label+"</a>")
	require.True(t, ok, "there is a link %s", label)
	path, _, _ := strings.Cut(before[strings.LastIndex(before, `href="`)+len(`href="`):], `"`)
	return strings.ReplaceAll(path, "&amp;", "&")
}

func TestChangesOfDeadLettersKeepTheFilter(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.bury(t, 3, "cancelled", "bulk", uuid.New())
	b.bury(t, 3, "cancelled", "shop", uuid.New())
	var ids []string
	require.NoError(t, b.db.Pool.QueryRow(t.Context(),
		"SELECT array_agg(id::text ORDER BY id) FROM iu_outbox.dead_letter WHERE event ->> 'actor' = 'bulk'").Scan(&ids))

	w := b.post("/dead-letters/drop", url.Values{"actor": {"bulk"}, "id": ids[:2]})
	require.Equal(t, http.StatusSeeOther, w.Code)
	require.Regexp(t, `^/dead-letters\?actor=bulk&done=\d+$`, w.Header().Get("Location"))
	b.done(t, w, "otto dropped 2 dead letters.")

	ask := b.get(t, "/dead-letters/drop?all=1&actor=shop")
	shows(t, ask, "permanently deletes <strong>3 dead letters (actor shop)</strong>")
	shows(t, ask, `name="expect" value="3"`)
	b.bury(t, 1, "cancelled", "shop", uuid.New())
	unseen := b.post("/dead-letters/drop", url.Values{"all": {"1"}, "actor": {"shop"}})
	require.Equal(t, http.StatusBadRequest, unseen.Code, "nobody was shown how many")
	more := b.post("/dead-letters/drop", url.Values{"all": {"1"}, "actor": {"shop"}, "expect": {"3"}})
	require.Equal(t, http.StatusConflict, more.Code)
	shows(t, more.Body.String(), "more than 3 dead letters match now")
	b.done(t, b.post("/dead-letters/drop", url.Values{"all": {"1"}, "actor": {"shop"}, "expect": {"4"}}), "otto dropped 4 dead letters")
	left, err := operate.CountDeadLetters(t.Context(), b.db.Pool, operate.Selection{})
	require.NoError(t, err)
	require.EqualValues(t, 1, left)
	require.NotContains(t, b.get(t, "/dead-letters/drop?all=1&actor=bulk", asViewer), `method="post"`, "a viewer is offered nothing")
}

func TestAHundredThousandDeadLettersAreListedQuickly(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts)
		SELECT n, 'cancelled', id, md5(id::text), pg_catalog.jsonb_build_object('event_id', id, 'event_type', 'type ' || n % 7,
			'template_collection_id', $1::uuid, 'instance_key_suffix', 's-' || n, 'emit_mode', 'live', 'actor', 'actor ' || n % 1000,
			'note', repeat('x', 300)), 'events', 1
		FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 100000) AS n) AS n`, b.template)
	b.db.Exec(t, "ANALYZE iu_outbox.dead_letter")
	page := b.get(t, "/dead-letters")
	shows(t, page, "Retry the oldest 10,000")
	shows(t, page, "100,000 dead letters")
	shows(t, b.get(t, "/dead-letters?actor=actor+17"), "100 dead letters match")
	for condition, index := range map[string]string{
		"pg_catalog.left(d.event ->> 'actor', 200) = 'actor 17'":                                 "dead_letter_actor_idx",
		"pg_catalog.left(d.event ->> 'template_collection_id', 36) = '" + uuid.NewString() + "'": "dead_letter_template_idx",
		"pg_catalog.left(d.event ->> 'event_type', 200) = 'none'":                                "dead_letter_event_type_idx",
		"d.created_at >= now() + interval '1 h'":                                                 "dead_letter_created_at_idx",
	} {
		var plan []byte
		require.NoError(t, b.db.Pool.QueryRow(t.Context(),
			"EXPLAIN (FORMAT json) SELECT * FROM iu_outbox.dead_letter AS d WHERE "+condition+" ORDER BY d.id DESC LIMIT 51").Scan(&plan))
		require.Contains(t, string(plan), index, condition)
	}
}

func TestChangesAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	shows(t, b.get(t, "/audit"), "No changes yet.")
	b.db.Exec(t, `
		INSERT INTO iu_outbox.audit (actor, action, detail, at)
		SELECT CASE WHEN n % 2 = 0 THEN 'ann' ELSE 'bob' END, CASE WHEN n % 3 = 0 THEN 'gate.open' ELSE 'actor.cancel' END,
			'{"gate": "composer", "actor": "shop <1>", "count": 1200}', now() - make_interval(mins => 10 * (150 - n))
		FROM generate_series(1, 150) AS n`)
	page := b.get(t, "/audit")
	shows(t, page, "cancelled 1,200 jobs of shop &lt;1&gt;")
	require.Equal(t, 100, strings.Count(page, `<th scope="row">`))
	older := b.get(t, hrefOf(t, page, "Older"))
	require.Equal(t, 50, strings.Count(older, `<th scope="row">`))
	require.Equal(t, 100, strings.Count(b.get(t, hrefOf(t, older, "Newer")), `<th scope="row">`))
	for query, n := range map[string]int{
		"actor=ann": 75, "action=gate": 50, "action=gate.open&actor=bob": 25, "since=100m": 10, "until=1400m": 10, "action=rollback": 0,
	} {
		page := b.get(t, "/audit?"+query)
		require.Equal(t, n, strings.Count(page, `<th scope="row">`), query)
		if n == 0 {
			shows(t, page, "No change matches")
		}
	}
	require.Equal(t, http.StatusBadRequest, serve(b.handler, http.MethodGet, "/audit?since=soon", nil, asOperator).Code)
}
