package webui

import (
	"encoding/json"
	"errors"
	"net/http"

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

func answerProblem(w http.ResponseWriter, p problem) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", comeAgain)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(p.json(), '\n')) // whoever asked is gone where this fails
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
		return problem{Status: http.StatusServiceUnavailable, Detail: "this process is stopping; come again"}
	}
	status, sentence := explain(err)
	return problem{Status: status, Detail: sentence}
}
