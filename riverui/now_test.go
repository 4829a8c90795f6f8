package webui_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

func TestNowShowsEverything(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.OpenGates(t)
	b.insert(t, b.template, "a", "b")
	wrong := b.insert(t, uuid.New(), "c")
	b.db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mailer<1>', epoch, 0 FROM iu_outbox.emission_counter")
	b.waitAnnounced(t, 2)
	b.waitState(t, wrong[0], "dead")

	page := b.get(t, "/")
	for _, says := range []string{
		"1 dead letter of template_not_found", `href="/dead-letters">Review`, "iuworker dead-letters list", // what needs an operator
		`<span class="name">Composed</span>`, `aria-label="Rows into the outbox in the last hour"`, // five numbers
		"<span>composer</span> <b>● open</b>", "<span>outbox</span> <b>0</b>", `href="/gates/auto-instantiate?to=close"`, // the pipeline
		"Events per ", "From INSERT to instance", `href="/?range=6h"`, "As a table", // charts
		"mailer&lt;1&gt;", `href="/consumers/mailer%3C1%3E"`, `aria-label="Events that mailer&lt;1&gt; was behind"`, // consumers
		"1 template ›", "1 dead letter of template_not_found from shop &lt;1&gt;", // templates, activity
		"Workers 1/1", "schema 36", "not verified yet", `<script src="/assets/page.js" defer>`, "otto, operator",
	} {
		shows(t, page, says)
	}
	require.NotContains(t, page, "shop <1>")
	require.NotContains(t, page, "Cannot be shown")
	require.NotContains(t, page, "style=", "the policy forbids styles inline")
	require.NotContains(t, page, "onclick=", "the policy forbids scripts inline")
	viewers := b.get(t, "/", asViewer)
	require.NotContains(t, viewers, "?to=close", "a viewer is not offered what is refused")
	shows(t, viewers, `href="/dead-letters">Review`, "a viewer may look")
	for _, asset := range []string{"page.css", "page.js", "icon.svg"} {
		require.NotEmpty(t, b.get(t, "/assets/"+asset))
	}
}

func TestNowTakesARange(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	for _, name := range []string{"1h", "6h", "24h", "7d"} {
		shows(t, b.get(t, "/?range="+name), `href="/?range=`+name+`" aria-current="true"`)
	}
	page := b.get(t, "/?range=6h")
	shows(t, page, `data-live="/?range=6h"`, "updates are of the same range")
	shows(t, b.get(t, "/?range=year"), `href="/?range=1h" aria-current="true"`)
}

func TestNowGuidesThroughTheSetUp(t *testing.T) {
	t.Parallel()
	const ticked, open = `<span class="unseen">done: </span><b>%s</b>`, `<span class="unseen">to do: </span><b>%s</b>`
	steps := func(page string, form string, names ...string) {
		t.Helper()
		for _, name := range names {
			shows(t, page, fmt.Sprintf(form, name))
		}
	}
	missing := serve(handlerOn(t, iutest.Empty(t), nil), http.MethodGet, "/", nil).Body.String()
	steps(missing, open, "schema installed", "worker running", "gates open", "a template", "first event", "first subscriber")
	shows(t, missing, "iuworker migrate up")

	b := setupOperating(t)
	page := b.get(t, "/")
	steps(page, ticked, "schema installed", "worker running", "a template")
	steps(page, open, "gates open", "first event", "first subscriber")
	shows(t, page, `href="/gates/composer?to=open"`)
	require.NotContains(t, page, "is closed:", "what is a step of the set-up does not need anybody besides")
	require.NotContains(t, b.get(t, "/", asViewer), "?to=open")

	b.db.OpenGates(t)
	b.insert(t, b.template, "a")
	b.db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mailer', epoch, 1 FROM iu_outbox.emission_counter")
	b.waitAnnounced(t, 1)
	iutest.Eventually(t, func() bool { return !strings.Contains(b.get(t, "/"), "To set up") }, patience)
}

// Each entry that needs an operator disappears after its button or its command was used.
func TestNowListsWhatNeedsAnOperator(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	fillBusy(t, b.db)
	page := b.get(t, "/")
	first := strings.Index(page, "The gate auto-instantiate is closed: over 10,000 jobs are parked")
	second := strings.Index(page, "99 dead letters, 75 of them of template_not_marked")
	third := strings.Index(page, "2 consumers need attention: the consumer search-index is 38,445 events behind, and no process works for it")
	require.Positive(t, first, "the gate")
	require.Less(t, first, second, "the worst first")
	require.Less(t, second, third, "the worst first")
	shows(t, page, "by ann</small>")
	shows(t, page, `href="/gates/auto-instantiate?to=open"`)
	shows(t, page, `data-copy="iuworker gate open auto-instantiate"`)
	shows(t, page, "scaleout paused by ann")
	shows(t, page, "○ closed</b> <b>over 10,000 parked")
	shows(t, page, `title="38,445 behind for`, "a consumer that nobody works for is not fine")
	shows(t, page, "61 templates ›")
	require.Equal(t, 8, strings.Count(page, `href="/templates/`), "the eight that are used most")
	shows(t, page, "75 dead letters of template_not_marked from billing")
	shows(t, page, "ann closed the gate auto-instantiate")
	require.NotContains(t, page, "Nothing needs you")
	require.Regexp(t, `\b([4-9]|\d\d) things need you`, page, "the checks that have not run yet may add to them")

	b.done(t, b.post("/queues/scaleout", url.Values{"to": {"resume"}}), "otto resumed the queue scaleout.")
	b.done(t, b.post("/gates/auto-instantiate", url.Values{"to": {"open"}}), "otto opened the gate auto-instantiate")
	page = b.get(t, "/")
	for _, mended := range []string{"is closed:", "is paused:", "1 gate is closed", "1 queue is paused"} {
		require.NotContains(t, page, mended, "the page that follows a change shows what it changed")
	}
}

func TestNowSaysWhatCannotBeShown(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig("postgres://user:topsecret@127.0.0.1:1/none")
	require.NoError(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db := iutest.Empty(t)
	away := handlerOn(t, db, func(cfg *webui.Config) { cfg.Pool = pool })
	missing := handlerOn(t, db, nil)

	page := serve(away, http.MethodGet, "/", nil)
	require.Equal(t, http.StatusOK, page.Code)
	shows(t, page.Body.String(), "cannot connect to the database")
	shows(t, page.Body.String(), "The database 127.0.0.1:1 has been unreachable since")
	require.NotContains(t, page.Body.String(), "topsecret")
	require.NotContains(t, page.Body.String(), "not ready", "the cause is told once")
	page = serve(missing, http.MethodGet, "/", nil)
	shows(t, page.Body.String(), "run: iuworker migrate up")
	for _, path := range []string{"/trace?q=1", "/dead-letters", "/rollback?actor=ann", "/audit", "/gates/composer?to=open"} {
		require.Equal(t, http.StatusServiceUnavailable, serve(away, http.MethodGet, path, nil).Code, path)
		require.Equal(t, http.StatusServiceUnavailable, serve(missing, http.MethodGet, path, nil).Code, path)
	}
}

func TestALoginWithoutPrivilegesIsTold(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	pool, err := pgxpool.New(t.Context(), db.URLAs("iu_worker"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	handler := handlerOn(t, db, func(cfg *webui.Config) { cfg.Pool = pool })

	page := serve(handler, http.MethodGet, "/", nil).Body.String()
	shows(t, page, "<span>outbox</span> <b>0</b>", "the worker's own role reads the state")
	require.NotContains(t, page, "Cannot be shown")
	change := serve(handler, http.MethodPost, "/gates/composer", strings.NewReader("to=open"), with("Content-Type", "application/x-www-form-urlencoded"))
	require.Equal(t, http.StatusForbidden, change.Code)
	require.Contains(t, change.Body.String(), "grant it the role iu_operator")
}

// readSections reads a stream until a section shows a text.
func readSections(t *testing.T, lines *bufio.Scanner, seen map[string]string, id, shows string) {
	t.Helper()
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var section struct{ ID, HTML string }
		require.NoError(t, json.Unmarshal([]byte(data), &section))
		if section.ID == "" {
			continue // a heartbeat
		}
		seen[section.ID] = section.HTML
		if section.ID == id && strings.Contains(section.HTML, shows) {
			return
		}
	}
	require.FailNow(t, "the stream ended", "before section %s showed %q", id, shows)
}

func TestNowIsKeptUpToDate(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	server, err := webui.Listen(t.Context(), "127.0.0.1:0", b.handler)
	require.NoError(t, err)
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+"?range=6h", nil)
	require.NoError(t, err)
	asViewer(r)
	r.Header.Set("Accept", "text/event-stream")
	stream, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer func() { _ = stream.Body.Close() }()
	require.Equal(t, "text/event-stream", stream.Header.Get("Content-Type"))

	lines := bufio.NewScanner(stream.Body)
	lines.Buffer(nil, 1<<20)
	seen := map[string]string{}
	readSections(t, lines, seen, "running", "Workers 1/1")
	page := b.get(t, "/")
	for id := range seen {
		shows(t, page, `id="`+id+`"`, "the page has a place for each section")
	}
	for _, id := range []string{"needs", "figures", "pipeline", "charts", "consumers", "templates", "feed", "running", "frame-nav", "frame-banner"} {
		require.Contains(t, seen, id, "all sections come first")
	}
	shows(t, seen["charts"], `href="/?range=6h" aria-current="true"`)
	b.insert(t, b.template, "a")
	readSections(t, lines, seen, "pipeline", "<b>1 parked</b>")
	b.db.OpenGates(t)
	readSections(t, lines, seen, "pipeline", "<b>● open</b>")
	end()
	for lines.Scan() { // read the rest
	}
	require.NoError(t, lines.Err(), "the stream ends in order")
	require.NoError(t, <-served)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
