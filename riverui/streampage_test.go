package webui_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

func TestTheStreamPageNamesTheCommandsThatDoTheSame(t *testing.T) {
	t.Parallel()
	const path = "/stream?template=it%27s&actor=ann&from=after&after=ca6ff271-13"
	b := setupOperating(t)
	page := b.get(t, path)
	for _, says := range []string{
		`data-copy="iuworker subscribe --after ca6ff271-13 --template &#39;it&#39;\&#39;&#39;s&#39; --actor ann"`,
		"Send a test event", `<option value="letter">`,
		`<input name="template" value="letter" required`,
		"A gate is closed", "This process does not serve the events",
	} {
		shows(t, page, says)
	}
	require.NotContains(t, page, "curl", "the events are not at that address")
	require.NotContains(t, b.get(t, "/stream", asViewer), "/test-event")
	require.NotContains(t, page, "data-live=", "the viewer keeps itself up to date")
	serving := b
	serving.handler = handlerOn(t, b.db, func(cfg *webui.Config) { cfg.Credentials, cfg.Events = credentials(t), http.NotFoundHandler() })
	shows(t, serving.get(t, path), "/v1/events?actor=ann&amp;after=ca6ff271-13&amp;template=it%27s")
	require.Equal(t, http.StatusBadRequest, serve(b.handler, http.MethodGet, "/stream?from=soon", nil, asOperator).Code)
}
