package eventstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/iu-core/iuworker/riverui/internal/dberror"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// Problem says why there is no stream, or why it ended, in the form of RFC 9457.
type Problem struct {
	Title  string `json:"title"` // Write fills it in
	Status int    `json:"status"`
	Detail string `json:"detail"`

	// Of a cursor that the history does not hold: the cursor itself, the last position that its history shares with the
	// present one or after which everything is retained, and the end of the present history.
	Cursor      string `json:"cursor,omitempty"`
	CommonUntil string `json:"common_until,omitempty"`
	KeptAfter   string `json:"kept_after,omitempty"`
	End         string `json:"end,omitempty"`
}

// retryAfter is sent with 503, in seconds.
const retryAfter = "5"

// turnAway ends a request that is not served. Any status but 200 stops an EventSource: it never reconnects, and its script
// does not learn why. So a request for a stream gets a stream that ends at once and says when to reconnect: soon if the
// problem may pass; rarely, and with an event of the type "problem", if the cursor is lost. An invalid request keeps its
// status, as does every problem for other clients.
func (h *Handler) turnAway(w http.ResponseWriter, r *http.Request, p Problem) {
	if !Wanted(r) || p.Status == http.StatusBadRequest {
		p.Write(w)
		return
	}
	SetHeaders(w.Header())
	_, _ = w.Write(h.appendLastWords(nil, p)) // if this fails, the client has disconnected
}

// Wanted reports whether a request asks for a stream by name, as every EventSource does.
func Wanted(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), "text/event-stream")
}

// SetHeaders sets the headers of a stream. Proxies that compress or rewrite a response would delay its events.
func SetHeaders(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
}

// appendLastWords appends what a client gets before its stream ends.
func (h *Handler) appendLastWords(to []byte, p Problem) []byte {
	if p.lostCursor() {
		return fmt.Appendf(appendRetry(to, rarely*h.cfg.Retry), "event: problem\ndata: %s\n\n", p.json())
	}
	return fmt.Appendf(appendRetry(to, later*h.cfg.Retry), ": %s\n\n", strings.Join(strings.Fields(dberror.Redact(p.Detail)), " "))
}

// lostCursor reports whether the history does not hold the client's cursor.
func (p Problem) lostCursor() bool {
	return p.Status == http.StatusGone || p.Status == http.StatusConflict
}

// Write sends the problem as application/problem+json with its status.
func (p Problem) Write(w http.ResponseWriter) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(p.json(), '\n')) // if this fails, the client has disconnected
}

func (p Problem) json() []byte {
	p.Title = http.StatusText(p.Status)
	p.Detail = dberror.Redact(p.Detail)
	text, _ := json.Marshal(p) // texts and a number do not fail
	return text
}

// problemOf returns what a client is told of an error of its follower: 410 for a cursor that was valid once, 409 for a bare
// position that was never reached.
func problemOf(err error) Problem {
	if beyond, ok := errors.AsType[*subscribe.BeyondEndError](err); ok {
		return Problem{Status: http.StatusConflict, Detail: beyond.Error(), Cursor: beyond.Cursor.String(), End: beyond.End.String()}
	}
	if rewound, ok := errors.AsType[*subscribe.RewoundError](err); ok {
		p := Problem{Status: http.StatusGone, Detail: rewound.Error(), Cursor: rewound.Cursor.String(), End: rewound.End.String()}
		if rewound.CommonUntil.Epoch != "" {
			p.CommonUntil = rewound.CommonUntil.String()
		}
		return p
	}
	if pruned, ok := errors.AsType[*subscribe.PrunedError](err); ok {
		return Problem{
			Status: http.StatusGone, Detail: pruned.Error(), Cursor: pruned.Cursor.String(), KeptAfter: pruned.KeptAfter.String(), End: pruned.End.String(),
		}
	}
	status, sentence := dberror.Explain(err)
	switch {
	case errors.Is(err, subscribe.ErrTailStopped):
		status, sentence = http.StatusServiceUnavailable, "this worker is stopping; reconnect"
	case status == http.StatusForbidden: // a fault of the installation, which may be repaired
		status, sentence = http.StatusServiceUnavailable, "the database login of this worker may not read the events; grant it the role iu_worker"
	}
	return Problem{Status: status, Detail: sentence}
}
