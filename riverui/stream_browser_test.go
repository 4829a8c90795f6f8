//go:build browser

package webui_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/proxytest"
	webui "github.com/iu-core/iuworker/riverui"
)

// A browser's EventSource survives a restart of the server: it reconnects by itself, continues after its last event, and
// misses nothing.
func TestABrowserFollows(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func(testing.TB, string) string{
		"direct": func(_ testing.TB, worker string) string { return worker },
		"nginx":  proxytest.Read(t, filepath.Join("..", "docs", "deploy.md")).Nginx,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupStreaming(t, func(cfg *webui.Config) {
				cfg.Credentials = credentials(t)
			})
			browserFollows(t, s, way(t, s.address))
		})
	}
}

func browserFollows(t *testing.T, s *streaming, address string) {
	t.Helper()
	s.announce(t, 2)
	b := newBrowser(t)
	b.open("http://vera:" + strings.NewReplacer(":", "%3A", " ", "%20").Replace(viewerPassword) + "@" + address + "/")
	b.open("http://" + address + "/")
	b.value(`window.got = [], window.problems = [], window.opened = 0, window.lost = 0, window.source = new EventSource("/v1/events"), 0`)
	b.value(`source.onmessage = e => got.push(JSON.parse(e.data).subject), source.onopen = () => opened++, source.onerror = () => lost++, 0`)
	b.value(`source.addEventListener("problem", e => problems.push(JSON.parse(e.data).detail)), 0`)
	got := func(n int) []string {
		b.wait(`got.length >= ` + strconv.Itoa(n))
		var all []string
		for _, key := range b.value(`got`).([]any) {
			all = append(all, key.(string))
		}
		return all
	}
	b.wait(`opened === 1`)

	// The server restarts before the first event.
	s.stop()
	keys := s.announce(t, 2)
	b.wait(`source.readyState === EventSource.CONNECTING`)
	s.serve(t, s.address)
	require.Equal(t, keys, got(2))
	keys = append(keys, s.announce(t, 1)...)
	require.Equal(t, keys, got(3))

	// Later the server is down for so long that the browser fails to reconnect.
	s.stop()
	keys = append(keys, s.announce(t, 2)...)
	b.wait(`lost >= 3 && source.readyState === EventSource.CONNECTING`)
	s.serve(t, s.address)
	keys = append(keys, s.announce(t, 1)...)
	require.Equal(t, keys, got(6))

	// If the cursor is lost, the browser is told why, and reconnects rarely.
	s.Exec(t, "DELETE FROM iu_outbox.emission WHERE position > 6")
	s.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 6")
	b.wait(`problems.length === 1 && source.readyState === EventSource.CONNECTING`)
	require.Contains(t, b.value(`problems[0]`), "history rewound")
	require.Equal(t, keys, got(6))
}
