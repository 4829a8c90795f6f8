package webui

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/riverui/eventstream"
	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

// say responds with one sentence in the form that the caller reads: JSON for River UI and for the events, a page, or a line of
// text.
func (h *Handler) say(w http.ResponseWriter, r *http.Request, status int, format string, args ...any) {
	text := dberror.Redact(fmt.Sprintf(format, args...))
	switch {
	case strings.HasPrefix(r.URL.Path, h.at("riverui/api/")):
		writeJSON(w, status, map[string]string{"message": text})
	case h.isEvents(r):
		eventstream.Problem{Status: status, Detail: text}.Write(w)
	case h.serves == servingPages && strings.Contains(r.Header.Get("Accept"), "text/html"):
		h.render(w, r, status, "sentence.html", &sentencePage{page: h.page(r, http.StatusText(status)), Text: text})
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, text) // if this fails, the client has disconnected
	}
}

type sentencePage struct {
	page
	Text string
}

// refusal is an error whose text is the response.
type refusal struct {
	status int
	text   string
	again  bool // the page that asked for a confirmation is shown again, with the text
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// askAgain returns a refusal that shows the page that asked for a confirmation again.
func askAgain(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...), again: true}
}

// unreadable returns the refusal of a request whose body cannot be read: it is too long, or what text says.
func unreadable(err error, text string) error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "the request is longer than %d bytes", tooLong.Limit)
	}
	return refuse(http.StatusBadRequest, "%s", text)
}

// fail responds with the text of a refusal, or logs another error and responds with its sentence.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if refused, ok := errors.AsType[*refusal](err); ok {
		h.say(w, r, refused.status, "%s", refused.text)
		return
	}
	if changed, ok := errors.AsType[*operate.NotAsSeenError](err); ok {
		h.say(w, r, http.StatusConflict, "%s", changed)
		return
	}
	status, sentence := dberror.Explain(err)
	if r.Context().Err() != nil {
		return // the client has disconnected
	}
	h.cfg.Logger.WarnContext(r.Context(), "Pages: a request failed", slog.String("path", r.URL.Path), slog.String("error", dberror.Redact(err.Error())))
	if changes(r) && dberror.Lost(err) {
		sentence = "the connection to the database was lost; the audit page shows whether the change was made"
	}
	h.say(w, r, status, "%s", sentence)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // if this fails, the client has disconnected
}

// withSentences makes a mux refuse an unknown path or method with a sentence of ours.
func (h *Handler) withSentences(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var refused response
		handler.ServeHTTP(&refused, r)
		if refused.status == http.StatusMethodNotAllowed {
			allow := refused.Header().Get("Allow")
			w.Header().Set("Allow", allow)
			h.say(w, r, http.StatusMethodNotAllowed, "%s is not allowed here; allowed: %s", r.Method, allow)
			return
		}
		h.say(w, r, http.StatusNotFound, "there is nothing at %s", printable(r.URL.Path))
	})
}

// printable returns what a caller sent in a form that is short and harmless in a sentence.
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
