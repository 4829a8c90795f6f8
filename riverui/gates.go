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

// gateAsked returns the gate that a request is about, and whether to open it.
func gateAsked(r *http.Request) (gate compose.Gate, open bool, err error) {
	gate = compose.Gate(r.PathValue("gate"))
	if gate != compose.GateComposer && gate != compose.GateAutoInstantiate {
		return gate, false, refuse(http.StatusNotFound, "there is no gate %s: there are %s and %s",
			printable(string(gate)), compose.GateComposer, compose.GateAutoInstantiate)
	}
	open, err = either(r, "open", "close", "the gate")
	return gate, open, err
}

// askGate shows what opening or closing a gate would do.
func (h *Handler) askGate(r *http.Request) (string, confirmPage, error) {
	gate, open, err := gateAsked(r)
	if err != nil {
		return "", nil, err
	}
	state, err := status.Read(r.Context(), h.db())
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
	return "gate.html", p, err
}

func parkedAt(state status.Status, gate compose.Gate) operate.Count {
	for _, parked := range state.Parked {
		if parked.Gate == gate {
			return parked.Count
		}
	}
	return operate.Count{}
}

// setGate opens or closes a gate. A gate that is already as asked is left alone.
func (h *Handler) setGate(r *http.Request, by *operator) (string, error) {
	gate, open, err := gateAsked(r)
	if err == nil {
		_, err = by.SetGate(r.Context(), gate, open)
	}
	return "", err
}
