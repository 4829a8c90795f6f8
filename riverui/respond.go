package webui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// say answers with one sentence.
func say(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, redact(fmt.Sprintf(format, args...))) // whoever asked is gone where this fails
}

func answerJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // whoever asked is gone where this fails
}

var (
	urlPassword     = regexp.MustCompile(`(?i)(://[^:/?\s]*):[^\s]*@`)
	keywordPassword = regexp.MustCompile(`(?i)(pass(?:word|file|wd)?\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&;,'"]+)`)
)

// redact takes out what looks like a password. It is the last resort: addresses are not repeated in the first place.
func redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1:xxxxx@")
	return keywordPassword.ReplaceAllString(text, "${1}xxxxx")
}

// withSentences makes a mux say what is wrong with a path or a method that it does not know.
func withSentences(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var refused refusal
		handler.ServeHTTP(&refused, r)
		if refused.status == http.StatusMethodNotAllowed {
			allow := refused.header.Get("Allow")
			w.Header().Set("Allow", allow)
			say(w, http.StatusMethodNotAllowed, "%s is not possible here; possible: %s", r.Method, allow)
			return
		}
		say(w, http.StatusNotFound, "there is nothing at %s", printable(r.URL.Path))
	})
}

// refusal takes what a mux answers to what it does not know, to say it in our words.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }

// printable answers what a caller sent, short and harmless, for a sentence.
func printable(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == '\uFFFD' {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > 100 {
		return string(runes[:100]) + "…"
	}
	return text
}
