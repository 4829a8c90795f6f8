//go:build browser

package webui_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/proxytest"
	webui "github.com/iu-core/iuworker/riverui"
)

// A page of another site follows the events through the site's own server, as docs/subscribers.md says: that server knows its
// users and has the token. The worker refuses direct requests of the page.
func TestABrowserFollowsOnAnotherSite(t *testing.T) {
	t.Parallel()
	const token = "the-token-of-the-site-0123456789"
	tokens := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(tokens, []byte(token+"\n"), 0o600))
	s := setupStreaming(t, func(cfg *webui.Config) {
		var err error
		cfg.EventsTokens, err = webui.ReadTokens(tokens)
		require.NoError(t, err)
	})
	text, err := os.ReadFile(filepath.Join("..", "docs", "subscribers.md"))
	require.NoError(t, err)
	_, block, found := strings.Cut(string(text), "```nginx test=TestABrowserFollowsOnAnotherSite\n")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "```")
	site := proxytest.Nginx(t, strings.NewReplacer("127.0.0.1:8080", s.address, "TOKEN", token).Replace(block)+`
location = /signed-in {
    if ($http_cookie !~ "user=ann") { return 401; }
    return 204;
}
location / {
    default_type text/html;
    return 200 "<!doctype html><title>shop</title>";
}`)

	b := newBrowser(t)
	b.open("http://" + site + "/")
	b.value(`window.follow = url => { const s = new EventSource(url); s.got = []; s.onmessage = e => s.got.push(JSON.parse(e.data).subject); return s }, 0`)
	b.value(`window.direct = follow("http://` + s.address + `/v1/events"), window.stranger = follow("/events"), 0`)
	b.wait(`direct.readyState === EventSource.CLOSED && stranger.readyState === EventSource.CLOSED`)

	b.value(`document.cookie = "user=ann", window.source = follow("/events?from=beginning&actor=billing"), 0`)
	b.wait(`source.readyState === EventSource.OPEN`)
	keys := s.announce(t, 2)
	b.wait(`source.got.length === 2`)

	// After a restart of the worker the stream continues after its last event.
	s.stop()
	keys = append(keys, s.announce(t, 1)...)
	b.wait(`source.readyState === EventSource.CONNECTING`)
	s.serve(t, s.address)
	b.wait(`source.got.length === 3`)
	for i, key := range keys {
		require.Equal(t, key, b.value(`source.got`).([]any)[i])
	}
}
