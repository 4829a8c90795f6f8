package webui_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

// many is the handler of three databases below /iu: orders works, billing is not ready, and legacy has no worker.
type many struct {
	handler        *webui.Handler
	orders, others operating
	ready          error // of billing
}

func setupMany(t *testing.T) *many {
	t.Helper()
	m := &many{ready: errors.New("the server is read-only, or a standby")}
	all := []webui.Database{
		{Name: "billing", Handler: handlerOn(t, iutest.New(t), func(cfg *webui.Config) {
			cfg.Credentials, cfg.BasePath, cfg.Name, cfg.Index = credentials(t), "/iu/d/billing", "billing", "/iu/"
			cfg.Ready = func(context.Context) error { return m.ready }
		})},
		{Name: "legacy", Reason: "password authentication failed for user <legacy>"},
	}
	m.orders = setupOperating(t, func(cfg *webui.Config) { cfg.BasePath, cfg.Name, cfg.Index = "/iu/d/orders", "orders", "/iu/" })
	all = append(all, webui.Database{Name: "orders", Handler: m.orders.handler})
	var err error
	m.handler, err = webui.New(webui.Config{
		Databases: func() []webui.Database { return all }, BasePath: "/iu", Credentials: credentials(t), Logger: slog.New(slog.DiscardHandler),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("all_metrics")) }),
	})
	require.NoError(t, err)
	t.Cleanup(m.handler.Stop)
	m.others = operating{handler: m.handler}
	return m
}

func TestTheIndexShowsEachDatabase(t *testing.T) {
	t.Parallel()
	m := setupMany(t)
	m.orders.bury(t, 2, "cancelled", "shop", m.orders.template)
	var page string
	iutest.Eventually(t, func() bool { // a busy machine reads some of it late
		page = m.others.get(t, "/iu/")
		return strings.Contains(page, `<span class="mark good">ready</span>`) && strings.Contains(page, m.ready.Error()) &&
			strings.Contains(page, `<a href="/iu/d/orders/dead-letters">2</a>`)
	}, patience)
	for _, says := range []string{
		`<a href="/iu/d/orders/">orders</a>`, `<a href="/iu/d/billing/">billing</a>`, `<a href="/iu/d/legacy/">legacy</a>`,
		"the server is read-only, or a standby", "failed for user &lt;legacy&gt;", `data-live="/iu/"`, `href="/iu/assets/page.css"`,
	} {
		shows(t, page, says)
	}
	require.NotContains(t, page, `id="find"`, "there is nothing to search")
	shows(t, m.others.get(t, "/iu/metrics"), "all_metrics")
	require.Equal(t, http.StatusMovedPermanently, serve(m.handler, http.MethodGet, "/iu", nil, asOperator).Code)
	require.Equal(t, http.StatusNotFound, serve(m.handler, http.MethodGet, "/iu/events", nil, asOperator).Code)
	require.Equal(t, http.StatusNotFound, serve(m.handler, http.MethodGet, "/iu/d/nothing/", nil, asOperator).Code)
}

// Each database is served by its own handler, with its own paths, and changes reach it alone.
func TestDatabasesAreServedBelowTheirNames(t *testing.T) {
	t.Parallel()
	m := setupMany(t)
	page := m.others.get(t, "/iu/d/orders/")
	shows(t, page, `<a class="act" href="/iu/">Databases</a> <strong>orders</strong>`)
	shows(t, page, `href="/iu/d/orders/events"`)
	require.NotContains(t, page, `href="/iu/events"`)
	shows(t, m.others.get(t, "/iu/d/orders/riverui/"), `src="/iu/d/orders/riverui/`)
	shows(t, m.others.get(t, "/iu/d/orders/riverui/api/jobs?state=completed"), `"data"`)
	require.Equal(t, http.StatusMovedPermanently, serve(m.handler, http.MethodGet, "/iu/d/orders", nil, asOperator).Code)

	change := m.others.post("/iu/d/orders/gates/composer", url.Values{"to": {"open"}})
	require.Equal(t, http.StatusSeeOther, change.Code, change.Body)
	require.True(t, strings.HasPrefix(change.Header().Get("Location"), "/iu/d/orders/?done="), change.Header().Get("Location"))
	require.Len(t, m.orders.audit(t), 1)
	require.Equal(t, http.StatusUnauthorized, serve(m.handler, http.MethodPost, "/iu/d/orders/gates/composer", nil).Code)
	require.Equal(t, http.StatusForbidden, serve(m.handler, http.MethodPost, "/iu/d/orders/gates/composer", nil, asViewer).Code)

	away := serve(m.handler, http.MethodGet, "/iu/d/legacy/events", nil, asOperator)
	require.Equal(t, http.StatusServiceUnavailable, away.Code)
	shows(t, away.Body.String(), "does not run: password authentication failed")
}

func TestEverythingOfManyDatabasesIsGuardedButTheProbes(t *testing.T) {
	t.Parallel()
	m := setupMany(t)
	for _, path := range []string{"/iu/", "/iu/metrics", "/iu/assets/page.css", "/iu/d/orders/", "/iu/d/legacy/", "/iu/d/nothing/", "/nowhere"} {
		require.Equal(t, http.StatusUnauthorized, serve(m.handler, http.MethodGet, path, nil).Code, path)
	}
	for path, status := range map[string]int{
		"/healthz": http.StatusOK, "/iu/healthz": http.StatusOK, "/readyz": http.StatusOK, "/iu/readyz": http.StatusOK,
		"/iu/d/orders/readyz": http.StatusOK, "/iu/d/billing/readyz": http.StatusServiceUnavailable,
		"/iu/d/legacy/readyz": http.StatusServiceUnavailable, "/iu/d/legacy/healthz": http.StatusOK,
	} {
		iutest.Eventually(t, func() bool { return serve(m.handler, http.MethodGet, path, nil).Code == status }, patience, path)
	}
}

// The process is ready as long as it can work on one of its databases. What is wrong with the others is said without hosts and logins.
func TestReadyzNamesTheDatabasesThatAreNot(t *testing.T) {
	t.Parallel()
	m := setupMany(t)
	ready := serve(m.handler, http.MethodGet, "/readyz", nil)
	require.JSONEq(t, `{"ready": true, "databases": 3, "not_ready": [
		{"database": "billing", "reason": "the server is read-only, or a standby"},
		{"database": "legacy", "reason": "its worker does not run; the log and the pages say why"}]}`, ready.Body.String())

	none, err := webui.New(webui.Config{
		Databases: func() []webui.Database { return []webui.Database{{Name: "legacy", Reason: "it is starting"}} },
		Logger:    slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(none.Stop)
	ready = serve(none, http.MethodGet, "/readyz", nil)
	require.Equal(t, http.StatusServiceUnavailable, ready.Code)
	require.Contains(t, ready.Body.String(), `"ready":false`)

	apart, err := webui.NewMetrics(webui.Config{
		Databases: func() []webui.Database { return []webui.Database{{Name: "legacy", Reason: "it is starting"}} },
		Metrics:   http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(apart.Stop)
	require.Equal(t, ready.Body.String(), serve(apart, http.MethodGet, "/readyz", nil).Body.String())
}
