package webui_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllTemplatesAreListedAndFound(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	for i := range 60 {
		b.db.Template(t, fmt.Sprintf("welcome/%02d", i), i%2)
	}
	b.db.Exec(t, `SELECT public.fn_iu_collection_mark_template(id, 'test', false) FROM public.iu_piece_collection WHERE collection_key = 'welcome/01'`)
	page := b.get(t, "/templates")
	shows(t, page, "61 templates")
	require.Equal(t, 50, strings.Count(page, `<th scope="row">`))
	shows(t, page, `href="/templates/welcome%2F00"`)
	shows(t, page, `<span class="mark closed">empty</span>`)
	shows(t, page, `<span class="mark closed">not marked</span>`)
	next := b.get(t, hrefOf(t, page, "Next"))
	require.Equal(t, 11, strings.Count(next, `<th scope="row">`))
	require.Equal(t, 50, strings.Count(b.get(t, hrefOf(t, next, "Previous")), `<th scope="row">`))
	shows(t, b.get(t, "/templates?q=COME%2F0"), "10 templates match")
	shows(t, b.get(t, "/templates?q=%3Cnone%3E"), "No template has “&lt;none&gt;” in its key or title")
	require.Equal(t, http.StatusBadRequest, serve(b.handler, http.MethodGet, "/templates?q=%FF", nil, asOperator).Code)
}

func TestATemplateIsShownAndMarked(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.OpenGates(t)
	template := b.db.Template(t, "a/b <c>", 2)
	events := b.insert(t, template, "one")
	b.waitState(t, events[0], "done")
	b.bury(t, 2, "cancelled", "shop", template)
	path := "/templates/" + url.PathEscape("a/b <c>")
	page := b.get(t, path)
	for _, says := range []string{
		"2 pieces", "tpl-inst:auto:one", `<a href="/dead-letters?template=a%2fb%20%3cc%3e">2</a>`, ">Mark again<",
		"Send a test event", `name="mode" value="dry_run" checked`,
	} {
		shows(t, page, says)
	}
	viewer := b.get(t, path, asViewer)
	require.NotContains(t, viewer, `method="post"`)

	// After the content has changed, the page says that it differs, and a new version can be recorded.
	b.db.Exec(t, "UPDATE public.iu_piece_membership SET is_active = false WHERE collection_id = $1 AND position = 2", template)
	shows(t, b.get(t, path), "The content differs from version 1")
	b.done(t, b.post(path+"/mark", url.Values{"to": {"mark"}}), "otto marked the template a/b &lt;c&gt;.")
	page = b.get(t, path)
	require.NotContains(t, page, "The content differs")
	shows(t, page, `<th scope="row">2</th>`)

	shows(t, b.get(t, path+"/unmark"), "end as dead letters (template_not_marked)")
	require.NotContains(t, b.get(t, path+"/unmark", asViewer), `method="post"`)
	b.done(t, b.post(path+"/mark", url.Values{"to": {"unmark"}}), "otto unmarked the template a/b &lt;c&gt;.")
	shows(t, b.get(t, path), "is not marked as a template")
	for _, try := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/templates/none", http.StatusNotFound}, {http.MethodGet, "/templates/none/unmark", http.StatusNotFound},
		{http.MethodPost, "/templates/none/mark", http.StatusNotFound}, {http.MethodPost, path + "/mark?x", http.StatusBadRequest},
	} {
		form := url.Values{"to": {"mark"}}
		if strings.HasSuffix(try.path, "?x") {
			form = nil
		}
		if try.method == http.MethodPost {
			require.Equal(t, try.status, b.post(try.path, form).Code, try.path)
		} else {
			require.Equal(t, try.status, serve(b.handler, try.method, try.path, nil, asOperator).Code, try.path)
		}
	}
}

func TestATestEventIsSentInTheNameOfTheUser(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.OpenGates(t)
	w := b.post("/test-event", url.Values{"template": {"letter"}, "mode": {"dry_run"}})
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
	require.Regexp(t, `^/events/[0-9a-f]{32}\?done=\d+$`, w.Header().Get("Location"))
	b.db.WaitFor(t, patience, `SELECT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log
		WHERE event_type = 'iuworker.test' AND triggered_by = 'otto' AND emit_mode = 'dry_run')`)
	shows(t, b.get(t, "/audit"), "otto sent a test event for letter (dry run)")

	for _, try := range []struct {
		form   url.Values
		status int
		says   string
	}{
		{url.Values{"template": {"lettre"}, "mode": {"live"}}, http.StatusNotFound, "lettre"},
		{url.Values{"mode": {"live"}}, http.StatusBadRequest, "Choose a template"},
		{url.Values{"template": {"letter"}}, http.StatusBadRequest, "Choose a dry run or a live event"},
	} {
		w := b.post("/test-event", try.form)
		require.Equal(t, try.status, w.Code)
		shows(t, w.Body.String(), try.says)
	}
	require.Len(t, b.audit(t), 1)
}
