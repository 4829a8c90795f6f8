package webui_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheStreamPageNamesTheCommandsThatDoTheSame(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	page := b.get(t, "/stream?template=it%27s&actor=ann&from=after&after=ca6ff271-13")
	for _, says := range []string{
		`data-copy="iuworker subscribe --after ca6ff271-13 --template &#39;it&#39;\&#39;&#39;s&#39; --actor ann"`,
		"/v1/events?actor=ann&amp;after=ca6ff271-13&amp;template=it%27s", "Send a test event",
		`<option value="letter">`, `<input name="template" value="letter" required`,
		"A gate is closed", "This process does not serve the events",
	} {
		shows(t, page, says)
	}
	require.NotContains(t, b.get(t, "/stream", asViewer), "/test-event")
	require.NotContains(t, page, "data-live=", "the viewer keeps itself up to date")
	require.Equal(t, http.StatusBadRequest, serve(b.handler, http.MethodGet, "/stream?from=soon", nil, asOperator).Code)
}
