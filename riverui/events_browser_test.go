//go:build browser

package webui_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// A browser's EventSource, over a restart of the server: it comes again by itself, goes on after the last event it got,
// and misses nothing.
func TestABrowserFollows(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(_ *webui.EventsConfig, cfg *webui.Config) {
		cfg.Credentials = credentials(t)
	})
	keys := s.announce(t, 2)
	b := newBrowser(t)
	b.open(strings.Replace(s.url, "http://", "http://vera:"+strings.NewReplacer(":", "%3A", " ", "%20").Replace(viewerPassword)+"@", 1) + "/")
	b.open(s.url + "/")
	b.value(`window.got = [], window.problems = [], window.opened = 0, window.source = new EventSource("/v1/events?from=beginning"), 0`)
	b.value(`source.onmessage = e => got.push(JSON.parse(e.data).subject), source.onopen = () => opened++, 0`)
	b.value(`source.addEventListener("problem", e => problems.push(JSON.parse(e.data).detail)), 0`)
	got := func(n int) []string {
		b.wait(`got.length >= ` + string(rune('0'+n)))
		var all []string
		for _, key := range b.value(`got`).([]any) {
			all = append(all, key.(string))
		}
		return all
	}
	require.Equal(t, keys, got(2))
	keys = append(keys, s.announce(t, 1)...)
	require.Equal(t, keys, got(3))

	s.stop()
	keys = append(keys, s.announce(t, 2)...)
	b.wait(`source.readyState === EventSource.CONNECTING`)
	s.serve(t, s.address)
	keys = append(keys, s.announce(t, 1)...)
	require.Equal(t, keys, got(6))
	b.wait(`opened === 2`)

	// Where its place is lost it is told why, and does not come again for ever.
	s.Exec(t, "DELETE FROM iu_outbox.emission WHERE position > 4")
	s.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 4")
	b.wait(`problems.length === 1 && source.readyState === EventSource.CLOSED`)
	require.Contains(t, b.value(`problems[0]`), "history rewound")
}
