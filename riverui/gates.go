package webui

import (
	"net/http"

	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

type gatePage struct {
	page
	Gate    operate.Gate
	Open    bool          // what is asked for
	Parked  operate.Count // wait for this gate
	Running operate.Count // jobs that run now
	Other   *operate.Gate // the other gate, if it is closed
}

// Held reports whether opening the gate lets nothing run yet: nothing is composed while the composer is closed.
func (p *gatePage) Held() bool { return p.Other != nil && p.Other.Gate == compose.GateComposer }

// gateAsked returns which gate and what with it a request is about; false if it said what is wrong.
func (h *Handler) gateAsked(w http.ResponseWriter, r *http.Request, to string) (gate compose.Gate, open, ok bool) {
	gate = compose.Gate(r.PathValue("gate"))
	if gate != compose.GateComposer && gate != compose.GateAutoInstantiate {
		h.say(w, r, http.StatusNotFound, "there is no gate %s: there are %s and %s", printable(string(gate)), compose.GateComposer, compose.GateAutoInstantiate)
		return gate, false, false
	}
	if to != "open" && to != "close" {
		h.say(w, r, http.StatusBadRequest, "say whether to open or to close the gate")
		return gate, false, false
	}
	return gate, to == "open", true
}

// askGate asks for a confirmation, and says what would happen.
func (h *Handler) askGate(w http.ResponseWriter, r *http.Request) {
	gate, open, ok := h.gateAsked(w, r, r.URL.Query().Get("to"))
	if !ok {
		return
	}
	state, err := status.Read(r.Context(), h.db())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	p := &gatePage{page: h.page(r, "Close the gate "+string(gate)), Open: open, Parked: parkedAt(state, gate)}
	if open {
		p.Title = "Open the gate " + string(gate)
	}
	for _, n := range state.Jobs {
		if n.State == string(rivertype.JobStateRunning) {
			p.Running = plus(p.Running, n.Count)
		}
	}
	for i, g := range state.Gates {
		switch {
		case g.Gate == gate:
			p.Gate = g
		case !g.Open:
			p.Other = &state.Gates[i]
		}
	}
	h.render(w, r, http.StatusOK, "gate.html", p)
}

func parkedAt(state status.Status, gate compose.Gate) operate.Count {
	for _, parked := range state.Parked {
		if parked.Gate == gate {
			return parked.Count
		}
	}
	return operate.Count{}
}

// setGate opens or closes a gate; one that is so already is left alone.
func (h *Handler) setGate(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	gate, open, ok := h.gateAsked(w, r, r.PostForm.Get("to"))
	if !ok {
		return
	}
	by := h.operator(r)
	if _, err := by.SetGate(r.Context(), gate, open); err != nil {
		h.fail(w, r, err)
		return
	}
	h.back(w, r, "", by.auditID())
}
