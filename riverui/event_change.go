package webui

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
)

// eventChange is what a form asks for, and the events that it selects.
type eventChange struct {
	Do     operate.EventChange
	Filter filter
	All    bool    // that match the filter
	IDs    []int64 // of dead letters, or of jobs
	Event  string  // the idempotency key of the event from whose page the form came; "" from the list

	chosen operate.EventFilter
}

// eventActions are the changes by their names in forms. letter marks the ids that a change takes.
var eventActions = map[operate.EventChange]struct{ letter, of, done string }{
	operate.EventRetry:  {"l", "dead letter", "retried"},
	operate.EventDrop:   {"l", "dead letter", "dropped"},
	operate.EventCancel: {"j", "event", "cancelled"},
}

func (h *Handler) readEventChange(r *http.Request) (c eventChange, err error) {
	form := values(r)
	do, all := strings.CutPrefix(form.Get("do"), "all-")
	c.Do, c.All, c.Event = operate.EventChange(do), all, form.Get("event")
	action, known := eventActions[c.Do]
	if !known {
		return c, refuse(http.StatusBadRequest, "say what to do with the events: retry, drop or cancel")
	}
	if c.Event != "" && badReference(c.Event) != nil {
		return c, refuse(http.StatusBadRequest, "%s is not an event", printable(c.Event))
	}
	if c.Filter, c.chosen, err = h.eventFilter(r); err != nil || c.All {
		return c, err
	}
	for _, text := range form["id"] {
		id, err := strconv.ParseInt(strings.TrimLeft(text, "lj"), 10, 64)
		if err != nil || id < 1 || len(text) < 2 || text[0] != 'l' && text[0] != 'j' {
			return c, refuse(http.StatusBadRequest, "there is no event %s", printable(text))
		}
		if strings.HasPrefix(text, action.letter) { // others were selected for another change
			c.IDs = append(c.IDs, id)
		}
	}
	slices.Sort(c.IDs)
	c.IDs = slices.Compact(c.IDs)
	if len(c.IDs) > operate.MaxEventsChanged || len(form["id"]) == 0 {
		return c, refuse(http.StatusBadRequest, "say which events: select some, or choose all that match")
	}
	return c, nil
}

// Back returns the path of the page from which the user came.
func (c eventChange) Back() string {
	if c.Event != "" {
		return eventPath(c.Event)
	}
	return "/events" + c.Filter.Query()
}

// Picks returns the events as a form names them.
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
	What  string // describes the events
}

// askEvents shows what a change would do.
func (h *Handler) askEvents(r *http.Request) (string, confirmPage, error) {
	c, err := h.readEventChange(r)
	if err != nil {
		return "", nil, err
	}
	p := &eventChangePage{page: h.page(r, sentence(string(c.Do))+" events"), eventChange: c, Count: len(c.IDs)}
	part := false // there are more that match
	if c.All {
		ids, complete, err := operate.ChooseEvents(r.Context(), h.db(), c.chosen, c.Do, operate.MaxEventsChanged+1)
		if err != nil {
			return "", nil, err
		}
		p.Count, part = min(len(ids), operate.MaxEventsChanged), len(ids) > operate.MaxEventsChanged || !complete
	}
	of := eventActions[c.Do].of
	p.What = operate.Count{N: int64(p.Count)}.Of(of, of+"s")
	if c.Do == operate.EventCancel && p.Count != 1 {
		p.What += " that have not been composed yet"
	}
	if part {
		p.What = "the latest " + p.What
	}
	if words := c.Filter.Words(); c.All && words != "" {
		p.What += " (" + words + ")"
	}
	return "eventchange.html", p, nil
}

// changeEvents retries, drops or cancels events. Of all that match a filter it takes no more than were confirmed.
func (h *Handler) changeEvents(r *http.Request, by *operator) (string, error) {
	c, err := h.readEventChange(r)
	if err != nil {
		return "", err
	}
	which := operate.PickedEvents{IDs: c.IDs}
	if c.All {
		most, err := shown(r, "expect", 1, operate.MaxEventsChanged)
		if err != nil {
			return "", err
		}
		which = operate.PickedEvents{Filter: c.chosen, Most: int(most), Says: map[string]string{}}
		for name, value := range c.Filter {
			if value != "" {
				which.Says["filter_"+name] = value
			}
		}
	}
	n, err := by.ChangeEvents(r.Context(), c.Do, which)
	_, more := errors.AsType[*operate.NotAsSeenError](err)
	switch {
	case more:
		err = refuse(http.StatusConflict, "nothing was changed: more than %d match now; go back and check them", which.Most)
	case err != nil:
		err = fmt.Errorf("%s events: %w", c.Do, err)
	case n == 0:
		err = refuse(http.StatusConflict, "no event was %s: they no longer exist, are running or composed, or another session has them",
			eventActions[c.Do].done)
	}
	return c.Back(), err
}
