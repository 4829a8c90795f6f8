package webui

import (
	"errors"
	"net/http"
	"strings"

	"github.com/iu-core/iuworker/worker/operate"
)

type tracePage struct {
	page
	Query   string
	Unknown string // why there is no trace
	Traces  []operate.Trace
}

func (h *Handler) trace(w http.ResponseWriter, r *http.Request) {
	p := &tracePage{page: h.page(r, "Trace an event"), Query: strings.TrimSpace(r.URL.Query().Get("q"))}
	status := http.StatusOK
	if p.Query != "" {
		if bad := badReference(p.Query); bad != "" {
			h.say(w, r, http.StatusBadRequest, "%s", bad)
			return
		}
		var err error
		p.Traces, err = operate.FindTraces(r.Context(), h.db(), p.Query)
		switch {
		case errors.Is(err, operate.ErrNoTrace):
			status = http.StatusNotFound
			p.Unknown = "nothing is known of it: it was never inserted, its transaction has not committed yet, " +
				"or it ended so long ago that only its instance would tell"
		case err != nil:
			h.fail(w, r, err)
			return
		}
	}
	h.render(w, r, status, "trace.html", p)
}

func badReference(text string) string {
	if len(text) > 300 || printable(text) != text && len([]rune(text)) <= 100 {
		return "what to trace is an event id, an idempotency key, an instance's id or key, or the number of a job"
	}
	return ""
}
