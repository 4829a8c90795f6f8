package webui

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
)

// eventChange is what a form wants to be done, to which events.
type eventChange struct {
	Do     operate.EventChange
	Filter eventFilter
	All    bool    // that match the filter
	IDs    []int64 // of dead letters, or of jobs
	Event  string  // the event from whose page it came: its idempotency key
}

// eventActions are the changes, by how forms name them, with the letter that names what they take.
var eventActions = map[operate.EventChange]struct{ letter, of, done string }{
	operate.EventRetry:  {"l", "dead letter", "retried"},
	operate.EventDrop:   {"l", "dead letter", "dropped"},
	operate.EventCancel: {"j", "event", "cancelled"},
}

// readEventChange reads what a form wants; false if it said what is wrong.
func (h *Handler) readEventChange(w http.ResponseWriter, r *http.Request, form url.Values) (c eventChange, ok bool) {
	do, all := strings.CutPrefix(form.Get("do"), "all-")
	c.Do, c.All, c.Event = operate.EventChange(do), all, form.Get("event")
	action, known := eventActions[c.Do]
	if !known {
		h.say(w, r, http.StatusBadRequest, "say what to do with the events: retry, drop or cancel")
		return c, false
	}
	if c.Event != "" && badReference(c.Event) != "" {
		h.say(w, r, http.StatusBadRequest, "%s is not an event", printable(c.Event))
		return c, false
	}
	if c.Filter, ok = h.readEventFilter(w, r, form); !ok {
		return c, false
	}
	if c.All {
		return c, true
	}
	for _, text := range form["id"] {
		id, err := strconv.ParseInt(strings.TrimLeft(text, "lj"), 10, 64)
		if err != nil || id < 1 || len(text) < 2 || text[0] != 'l' && text[0] != 'j' {
			h.say(w, r, http.StatusBadRequest, "there is no event %s", printable(text))
			return c, false
		}
		if strings.HasPrefix(text, action.letter) { // others were selected for another change
			c.IDs = append(c.IDs, id)
		}
	}
	slices.Sort(c.IDs)
	c.IDs = slices.Compact(c.IDs)
	if len(c.IDs) > operate.MaxEventsChanged || len(form["id"]) == 0 {
		h.say(w, r, http.StatusBadRequest, "say which events: select some, or choose all that match")
		return c, false
	}
	return c, true
}

// Back is where the user comes from.
func (c eventChange) Back() string {
	if c.Event != "" {
		return eventPath(c.Event)
	}
	return "/events" + c.Filter.Query()
}

// Picks are the events as a form names them.
func (c eventChange) Picks() []string {
	picks := make([]string, len(c.IDs))
	for i, id := range c.IDs {
		picks[i] = eventActions[c.Do].letter + strconv.FormatInt(id, 10)
	}
	return picks
}

type eventChangePage struct {
	page
	eventChange

	Count int
	Part  bool // there are more that match
}

// What describes the events in words.
func (p *eventChangePage) What() string {
	of := eventActions[p.Do].of
	text := operate.Count{N: int64(p.Count)}.Of(of, of+"s")
	if p.Do == operate.EventCancel && p.Count != 1 {
		text += " that have not been composed yet"
	}
	if p.Part {
		text = "the latest " + text
	}
	if words := p.Filter.Words(); p.All && words != "" {
		text += " (" + words + ")"
	}
	return text
}

// askEvents says what a change would do, and asks for a confirmation.
func (h *Handler) askEvents(w http.ResponseWriter, r *http.Request) {
	c, ok := h.readEventChange(w, r, r.URL.Query())
	if !ok {
		return
	}
	p := &eventChangePage{page: h.page(r, sentence(string(c.Do))+" events"), eventChange: c, Count: len(c.IDs)}
	if c.All {
		ids, complete, err := operate.ChooseEvents(r.Context(), h.db(), c.Filter.chosen, c.Do, operate.MaxEventsChanged+1)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		p.Count, p.Part = min(len(ids), operate.MaxEventsChanged), len(ids) > operate.MaxEventsChanged || !complete
	}
	h.render(w, r, http.StatusOK, "eventchange.html", p)
}

// changeEvents retries, drops or cancels events. Of all that match a filter it takes no more than was confirmed.
func (h *Handler) changeEvents(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	c, ok := h.readEventChange(w, r, r.PostForm)
	if !ok {
		return
	}
	which := operate.PickedEvents{IDs: c.IDs}
	if c.All {
		most, err := strconv.Atoi(r.PostForm.Get("expect"))
		if err != nil || most < 1 || most > operate.MaxEventsChanged {
			h.say(w, r, http.StatusBadRequest, "expect must be the number of events that were confirmed, from 1 to %d", operate.MaxEventsChanged)
			return
		}
		which = operate.PickedEvents{Filter: c.Filter.chosen, Most: most, Says: map[string]string{}}
		for name, value := range c.Filter.Fields() {
			which.Says["filter_"+name] = value
		}
	}
	by := h.operator(r)
	n, err := by.ChangeEvents(r.Context(), c.Do, which)
	if _, isOther := errors.AsType[*operate.NotAsSeenError](err); isOther {
		h.say(w, r, http.StatusConflict, "nothing was changed: more than %d match now; go back and check them", which.Most)
		return
	}
	switch {
	case err != nil:
		h.fail(w, r, fmt.Errorf("%s events: %w", c.Do, err))
	case n == 0:
		h.say(w, r, http.StatusConflict, "no event was %s: they no longer exist, are running or composed, or another session has them", eventActions[c.Do].done)
	default:
		h.back(w, r, c.Back(), by.auditID())
	}
}
