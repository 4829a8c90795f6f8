package webui

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// problem is why there is no stream, or no more of it, as RFC 9457 has it.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	// Of a cursor that the history does not hold: the cursor, the last place that its history and today's have in common,
	// or after which everything is kept, and the end of today's.
	Cursor      string `json:"cursor,omitempty"`
	CommonUntil string `json:"common_until,omitempty"`
	KeptAfter   string `json:"kept_after,omitempty"`
	End         string `json:"end,omitempty"`
}

// comeAgain is the Retry-After of what may be better soon, in seconds.
const comeAgain = "5"

// turnAway ends a request that is not served. Any status but 200 stops an EventSource: it never reconnects,
// and a script is not told why. So one that asks for a stream gets one that ends at once, and says when to reconnect: soon
// if what is wrong may pass, and rarely, with an event of the type "problem", if its cursor is lost, until somebody decides
// where to go on. What is wrong with the request itself keeps its status, as does everything for other clients.
func (e *Events) turnAway(w http.ResponseWriter, r *http.Request, p problem) {
	if !wantsStream(r) || !p.mayPass() && !p.lostCursor() {
		answerProblem(w, p)
		return
	}
	streamHeaders(w.Header())
	_, _ = w.Write(e.appendLastWords(nil, p)) // if this fails, the client has disconnected
}

// wantsStream reports whether a request asks for a stream by name, as every EventSource does.
func wantsStream(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), "text/event-stream")
}

// streamHeaders are those of every stream. Proxies that compress or rewrite hold events back.
func streamHeaders(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
}

// appendLastWords appends what a client gets before its stream ends.
func (e *Events) appendLastWords(to []byte, p problem) []byte {
	if p.lostCursor() {
		to = append(appendRetry(to, rarely*e.cfg.Retry), "event: problem\ndata: "...)
		return append(append(to, p.json()...), "\n\n"...)
	}
	return append(append(append(appendRetry(to, later*e.cfg.Retry), ": "...), strings.Join(strings.Fields(redact(p.Detail)), " ")...), "\n\n"...)
}

// mayPass reports whether the same request may be served later.
func (p problem) mayPass() bool { return p.Status >= http.StatusInternalServerError }

// lostCursor reports whether the history does not hold the client's cursor.
func (p problem) lostCursor() bool {
	return p.Status == http.StatusGone || p.Status == http.StatusConflict
}

func answerProblem(w http.ResponseWriter, p problem) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", comeAgain)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(p.json(), '\n')) // if this fails, the client has disconnected
}

func (p problem) json() []byte {
	p.Title = http.StatusText(p.Status)
	p.Detail = redact(p.Detail)
	text, err := json.Marshal(p)
	if err != nil { // which texts and a number do not cause
		return []byte("{}")
	}
	return text
}

// problemOf is what to tell of an error of a follower. A cursor that was good once is gone (410); a bare position that
// was never reached contradicts what there is (409).
func problemOf(err error) problem {
	var beyond *subscribe.BeyondEndError
	var rewound *subscribe.RewoundError
	var pruned *subscribe.PrunedError
	switch {
	case errors.As(err, &beyond):
		return problem{Status: http.StatusConflict, Detail: beyond.Error(), Cursor: beyond.Cursor.String(), End: beyond.End.String()}
	case errors.As(err, &rewound):
		p := problem{Status: http.StatusGone, Detail: rewound.Error(), Cursor: rewound.Cursor.String(), End: rewound.End.String()}
		if rewound.CommonUntil.Epoch != "" {
			p.CommonUntil = rewound.CommonUntil.String()
		}
		return p
	case errors.As(err, &pruned):
		return problem{
			Status: http.StatusGone, Detail: pruned.Error(), Cursor: pruned.Cursor.String(), KeptAfter: pruned.KeptAfter.String(), End: pruned.End.String(),
		}
	case errors.Is(err, subscribe.ErrTailStopped):
		return problem{Status: http.StatusServiceUnavailable, Detail: "this worker is stopping; reconnect"}
	}
	status, sentence := explain(err)
	if status == http.StatusForbidden { // the worker's login may not, which is not the client's fault and may be mended
		return problem{Status: http.StatusServiceUnavailable, Detail: "the database login of this worker may not read the events; grant it the role iu_worker"}
	}
	return problem{Status: status, Detail: sentence}
}
