package webui_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

func TestHealthShowsAllChecksTheWorstFirst(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.Exec(t, "SELECT iu_outbox.set_gate('composer', true, 'test')")
	page := b.get(t, "/health")
	shows(t, page, `<article id="gates" class="check">`)
	shows(t, page, `href="/gates/auto-instantiate?to=open">Open auto-instantiate…</a>`)
	shows(t, page, `data-copy="iuworker gate open auto-instantiate"`)
	shows(t, page, "<summary>Flow of events: ")
	shows(t, page, "Run again")
	require.NotContains(t, page, "All ", "not all are ok")
	viewer := b.get(t, "/health", asViewer)
	shows(t, viewer, "iuworker gate open auto-instantiate")
	require.NotContains(t, viewer, "/gates/auto-instantiate?to=open", "a viewer is offered nothing")
	require.Less(t, strings.LastIndex(page, `">fails<`), strings.Index(page, `">warning<`), "failures stand before warnings")
}

func TestHealthIsCheckedAgainOnRequest(t *testing.T) {
	t.Parallel()
	h, db := newHandler(t, nil)
	first := serve(h, http.MethodGet, "/health", nil).Body.String()
	shows(t, first, "Open composer…")
	db.OpenGates(t)
	for {
		again := serve(h, http.MethodGet, "/health?run=again", nil)
		require.Equal(t, http.StatusSeeOther, again.Code)
		require.Regexp(t, "^/health\\?since=[0-9]+$", again.Header().Get("Location"))
		if !strings.Contains(serve(h, http.MethodGet, "/health", nil).Body.String(), "Open composer…") {
			return
		}
		require.NoError(t, t.Context().Err())
	}
}

func TestHealthWithoutADatabaseSaysWhatWasSkipped(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?connect_timeout=2")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	h, err := webui.New(webui.Config{Pool: pool, Version: "1.2.3", Logger: slog.New(slog.DiscardHandler), BasePath: "/iu"})
	require.NoError(t, err)
	page := serve(h, http.MethodGet, "/iu/health", nil).Body.String()
	shows(t, page, `<article id="connection" class="check">`)
	require.Regexp(t, `<summary>\d+ skipped</summary>`, page)
	shows(t, page, "no connection.")
}
