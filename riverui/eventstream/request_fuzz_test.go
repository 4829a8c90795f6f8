package eventstream_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/iu-core/iuworker/riverui/eventstream"
)

// A request is accepted, or refused with one line that is safe to print on a terminal.
func FuzzRequest(f *testing.F) {
	for _, query := range []string{
		"", "after=1", "after=00000000-7", "since=1d2h", "since=2026-01-02T03:04:05%2B01:00", "from=now&actor=a&actor=b", "a;b", "%", "%00=%ff",
		"since=99999d", "after=9999999999999999999", "template=\u202e", "\n",
	} {
		f.Add(query, "")
		f.Add("", query)
	}
	f.Fuzz(func(t *testing.T, query, lastEventID string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{"Last-Event-Id": {lastEventID}}}
		err := eventstream.CheckRequest(r)
		if err == nil {
			return
		}
		if text := err.Error(); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 700 {
			t.Fatalf("%q", text)
		}
	})
}
