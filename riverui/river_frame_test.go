package webui_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

func TestRiverUIIsWithinOurFrame(t *testing.T) {
	t.Parallel()
	b := setupOperating(t, func(cfg *webui.Config) { cfg.BasePath, cfg.Environment = "/iu", "PROD <1>" })
	for _, path := range []string{"/iu/riverui/", "/iu/riverui/jobs?state=scheduled", "/iu/riverui/queues/events"} {
		page := b.get(t, path, with("Accept", "text/html"))
		for _, says := range []string{
			`href="/iu/">← iuworker</a>`, "<strong class=\"env\">PROD &lt;1&gt;</strong>", `<script src="/iu/assets/river.js" defer>`,
			`href="/iu/events?state=parked"`, `<div id="root"`, "Deleting a job that has not finished makes a dead letter",
		} {
			require.Contains(t, page, says, path)
		}
		require.Equal(t, 1, strings.Count(page, "<title>"))
		require.Contains(t, page, "<title>PROD &lt;1&gt; · Jobs · ")
		require.NotContains(t, page, "data-viewer")
		require.Contains(t, b.get(t, path, asViewer), " data-viewer>")
	}
	for _, asset := range []string{"/iu/assets/river.js", "/iu/assets/river.css"} {
		require.NotEmpty(t, b.get(t, asset))
	}
	w := serve(b.handler, http.MethodGet, "/iu/riverui/", nil, asOperator)
	require.NotContains(t, w.Header().Get("Content-Security-Policy"), "script-src 'self' 'unsafe-inline'")
	require.Empty(t, strings.TrimSpace(b.get(t, "/iu/riverui/banner")))
}

func TestTheFrameOfRiverUISaysThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	way := newOutage(t, b.db)
	handler := handlerOn(t, b.db, func(cfg *webui.Config) { cfg.Pool = way.pool })
	way.proxy.Stop()
	require.Eventually(t, func() bool {
		return strings.Contains(serve(handler, http.MethodGet, "/riverui/banner", nil).Body.String(), "has been unreachable since")
	}, patience, 20*time.Millisecond)
	w := serve(handler, http.MethodGet, "/riverui/jobs", nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "has been unreachable since")
}
