//go:build browser

package webui_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The script of docs/subscribers.md shows the events on a page of the worker's origin.
func TestABrowserRunsTheDocumentedPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "docs", "subscribers.md"))
	require.NoError(t, err)
	_, script, found := strings.Cut(string(text), "```js test=TestABrowserRunsTheDocumentedPage\n")
	require.True(t, found)
	script, _, _ = strings.Cut(script, "```")
	const template = "demo.welcome-letter"
	require.Contains(t, script, template)

	s := setupStreaming(t, nil)
	b := newBrowser(t)
	b.open("http://" + s.address + "/")
	b.value(`window.shown = [], window.show = (event) => shown.push(event.subject), 0`)
	b.value(`(() => {` + strings.ReplaceAll(script, template, "tpl:invoice") + `; window.source = source })(), 0`)
	b.wait(`source.readyState === EventSource.OPEN`)
	keys := s.announce(t, 2)
	b.wait(`shown.length === 2`)
	require.Equal(t, []any{keys[0], keys[1]}, b.value(`shown`))
}
