package webui_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// Whatever a client asks for, it is taken or refused with one line that a terminal can show.
func FuzzEventsRequest(f *testing.F) {
	for _, query := range []string{
		"", "after=1", "after=00000000-7", "since=1d2h", "since=2026-01-02T03:04:05%2B01:00", "from=now&actor=a&actor=b", "a;b", "%", "%00=%ff",
		"since=99999d", "after=9999999999999999999", "template=\u202e", "\n",
	} {
		f.Add(query, "")
		f.Add("", query)
	}
	f.Fuzz(func(t *testing.T, query, lastEventID string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{"Last-Event-Id": {lastEventID}}}
		err := webui.CheckEventsRequest(r)
		if err == nil {
			return
		}
		if text := err.Error(); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 700 {
			t.Fatalf("%q", text)
		}
	})
}

// A cookie that was changed in any way is none of ours.
func FuzzSession(f *testing.F) {
	pool, err := pgxpool.New(f.Context(), "postgres://127.0.0.1:1/none") // it is not asked
	require.NoError(f, err)
	f.Cleanup(pool.Close)
	handler, err := webui.New(webui.Config{Pool: pool})
	require.NoError(f, err)
	ours := handler.Session("vera", time.Now().Add(time.Hour))
	require.True(f, handler.KnowsSession(ours))
	f.Add(0, "x")
	f.Add(len(ours), "")
	f.Add(7, ".")
	f.Fuzz(func(t *testing.T, at int, with string) {
		at = max(0, min(at, len(ours)))
		for _, changed := range []string{ours[:at] + with + ours[at:], ours[:at] + with, with + ours[at:], with} {
			if changed != ours && handler.KnowsSession(changed) {
				t.Fatalf("took %q for %q", changed, ours)
			}
		}
	})
}
