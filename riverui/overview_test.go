package webui_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/sql/iutest"
)

func TestTheOverviewShowsEverything(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.OpenGates(t)
	b.insert(t, b.template, "a", "b")
	wrong := b.insert(t, uuid.New(), "c")
	b.db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mailer', epoch, 0 FROM iu_outbox.emission_counter")
	b.waitAnnounced(t, 2)
	b.waitState(t, wrong[0], "dead")

	page := b.get(t, "/")
	for _, says := range []string{
		">composer</dt>", "Everything is dispatched.", `/riverui/jobs?state=available`, "Events per minute", "From INSERT to instance",
		"/dead-letters?status=template_not_found", "mailer", "alive", "7/7 PASS", "letter", "tpl-inst:auto:a", "shop &lt;1&gt;", "matches",
		"/riverui/jobs/", `<script src="/assets/page.js" defer>`, "otto, operator",
	} {
		shows(t, page, says)
	}
	require.NotContains(t, page, "shop <1>")
	require.NotContains(t, page, "Cannot be shown")
	require.NotContains(t, page, "style=", "the policy forbids styles inline")
	require.NotContains(t, page, "onclick=", "the policy forbids scripts inline")
	shows(t, page, "/gates/composer?to=close")
	require.NotContains(t, b.get(t, "/", asViewer), "/gates/composer?to=close", "a viewer is not offered what is refused")
	for _, asset := range []string{"page.css", "page.js", "icon.svg"} {
		require.NotEmpty(t, b.get(t, "/assets/"+asset))
	}
}

func TestTheOverviewSaysWhatCannotBeShown(t *testing.T) {
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
	shows(t, page.Body.String(), "Cannot connect to the database")
	require.NotContains(t, page.Body.String(), "topsecret")
	page = serve(missing, http.MethodGet, "/", nil)
	shows(t, page.Body.String(), "run: iuworker migrate up")
	for _, path := range []string{"/trace?q=1", "/dead-letters", "/rollback?actor=ann", "/audit", "/gates/composer?to=open"} {
		require.Equal(t, http.StatusServiceUnavailable, serve(away, http.MethodGet, path, nil).Code, path)
		require.Equal(t, http.StatusServiceUnavailable, serve(missing, http.MethodGet, path, nil).Code, path)
	}
}

func TestALoginThatMayNotIsTold(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	pool, err := pgxpool.New(t.Context(), db.URLAs("iu_worker"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	handler := handlerOn(t, db, func(cfg *webui.Config) { cfg.Pool = pool })

	page := serve(handler, http.MethodGet, "/", nil).Body.String()
	shows(t, page, "Everything is dispatched.", "the worker's own role reads the state")
	shows(t, page, "grant it the role iu_operator")
	change := serve(handler, http.MethodPost, "/gates/composer", strings.NewReader("to=open"), with("Content-Type", "application/x-www-form-urlencoded"))
	require.Equal(t, http.StatusForbidden, change.Code)
	require.Contains(t, change.Body.String(), "grant it the role iu_operator")
}

// readSections reads a stream until a section shows what is looked for.
func readSections(t *testing.T, lines *bufio.Scanner, seen map[string]string, id, shows string) {
	t.Helper()
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var section struct{ ID, HTML string }
		require.NoError(t, json.Unmarshal([]byte(data), &section))
		seen[section.ID] = section.HTML
		if section.ID == id && strings.Contains(section.HTML, shows) {
			return
		}
	}
	require.FailNow(t, "the stream ended", "before section %s showed %q", id, shows)
}

func TestTheOverviewIsKeptUpToDate(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	server, err := webui.Listen(t.Context(), "127.0.0.1:0", b.handler)
	require.NoError(t, err)
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+"live", nil)
	require.NoError(t, err)
	asViewer(r)
	stream, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer func() { _ = stream.Body.Close() }()
	require.Equal(t, "text/event-stream", stream.Header.Get("Content-Type"))

	lines := bufio.NewScanner(stream.Body)
	lines.Buffer(nil, 1<<20)
	seen := map[string]string{}
	readSections(t, lines, seen, "audit", "None yet.")
	page := b.get(t, "/")
	for id := range seen {
		shows(t, page, `id="`+id+`"`, "the page has a place for each section")
	}
	require.Len(t, seen, 13, "all sections come first")
	b.insert(t, b.template, "a")
	readSections(t, lines, seen, "gates", ">1 job</a> parked")
	b.db.OpenGates(t)
	readSections(t, lines, seen, "announced", `<p class="big">1</p>`)
	end()
	for lines.Scan() { // the rest
	}
	require.NoError(t, lines.Err(), "the stream ends in order")
	require.NoError(t, <-served)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
