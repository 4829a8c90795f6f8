package webui_test

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// Whatever the names of templates, consumers, actors and scale-outs are, every link of the pages leads below the base path, and no
// name is interpreted as markup.
func TestEveryLinkLeadsSomewhereWhateverTheNames(t *testing.T) {
	t.Parallel()
	b := setupOperating(t, func(cfg *webui.Config) { cfg.BasePath = "/iu" })
	b.db.OpenGates(t)
	const odd = `<script>odd()</script>"'`
	names := []string{"a/b?c#d%25&e", odd + "/x", "😀☃", "--help"}
	for _, name := range names {
		b.insert(t, b.db.Template(t, name, 1), name)
		b.consumer(t, strings.ReplaceAll(name, "😀☃", ".x"), 0)
	}
	b.waitAnnounced(t, len(names))
	b.giveUp(t, names[0], 1)
	b.db.Exec(t, "UPDATE iu_outbox.consumer SET tries = 3, last_error = $1, last_error_at = now()", odd)
	b.db.Exec(t, `INSERT INTO iu_outbox.history_template
		SELECT date_bin('5 minutes', now(), '2000-01-01Z'), t.id, 5, 1, 1 FROM iu_outbox.template AS t
		UNION ALL SELECT date_bin('5 minutes', now(), '2000-01-01Z'), gen_random_uuid(), 90, 1, 1
		ON CONFLICT (at, template_collection_id) DO UPDATE SET composed = excluded.composed`)
	b.db.Exec(t, "INSERT INTO iu_outbox.audit (actor, action, detail) VALUES ($1, 'gate.open', jsonb_build_object('gate', $1::text))", odd)
	b.db.Exec(t, `INSERT INTO iu_outbox.scaleout (prefix, template_collection_id, emit_mode, actor, started_by, total, enqueued)
		VALUES ($1, $2, 'live', $1, $1, 5, 5)`, odd, b.template)
	b.db.Exec(t, `INSERT INTO iu_outbox.dead_letter (job_id, status, detail, event_id, idempotency_key, event, queue, attempts)
		SELECT 1000000, 'cancelled', $1, e.id, md5(e.id::text), jsonb_build_object('event_id', e.id, 'template_collection_id', $2::uuid,
			'instance_key_suffix', $1::text, 'emit_mode', 'live', 'actor', $1::text, 'event_type', $1::text), 'events', 1
		FROM (SELECT gen_random_uuid() AS id) AS e`, odd, b.template)

	links := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	came := map[string]string{"/iu/": "", "/iu/rollback?actor=shop+%3C1%3E": ""} // the page on which a link was found
	todo := []string{"/iu/", "/iu/rollback?actor=shop+%3C1%3E"}
	for len(todo) > 0 && len(came) < 400 {
		path := todo[0]
		todo = todo[1:]
		w := serve(b.handler, http.MethodGet, path, nil, asOperator, with("Accept", "text/html"))
		require.NotEqual(t, http.StatusNotFound, w.Code, "%s, from %s", path, came[path])
		require.Less(t, w.Code, http.StatusInternalServerError, "%s, from %s: %s", path, came[path], w.Body)
		body := w.Body.String()
		require.NotContains(t, body, "<script>odd", path)
		require.NotContains(t, body, "annot be shown", path)
		for _, match := range links.FindAllStringSubmatch(body, -1) {
			link := html.UnescapeString(match[1])
			link, _, _ = strings.Cut(link, "#")
			if strings.HasPrefix(link, "?") {
				at, _, _ := strings.Cut(path, "?")
				link = at + link
			}
			if _, seen := came[link]; seen || link == "" {
				continue
			}
			require.True(t, strings.HasPrefix(link, "/iu/") && !strings.HasPrefix(link, "/iu//"), "%s leads to %s", path, link)
			came[link] = path
			if !strings.HasPrefix(link, "/iu/riverui") && !strings.HasPrefix(link, "/iu/v1/") && !strings.HasPrefix(link, "/iu/assets/") &&
				!strings.HasPrefix(link, "/iu/readyz") && !strings.HasPrefix(link, "/iu/metrics") {
				todo = append(todo, link)
			}
		}
	}
	require.Greater(t, len(came), 60)
}
