package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

const eventsShown = 50

// eventFilter reads the filter of a request, and the events that it chooses.
func (h *Handler) eventFilter(r *http.Request) (f filter, chosen operate.EventFilter, err error) {
	if f, err = readFilter(r, "state", "template", "suffix", "actor", "type", "since", "until"); err != nil {
		return f, chosen, err
	}
	if f["state"] != "" && !slices.Contains(operate.EventStates, f["state"]) {
		return f, chosen, refuse(http.StatusBadRequest, "%s is not a state of events: use one of %s",
			printable(f["state"]), strings.Join(operate.EventStates, ", "))
	}
	chosen = operate.EventFilter{State: f["state"], Suffix: f["suffix"], Actor: f["actor"], EventType: f["type"]}
	if chosen.Since, chosen.Until, err = f.span(); err != nil {
		return f, chosen, err
	}
	chosen.Template, err = h.templateOf(r.Context(), f)
	return f, chosen, err
}

func eventPath(key string) string { return "/events/" + url.PathEscape(key) }

// eventList is the section of the events that match a filter.
type eventList struct {
	operate.EventPage

	Filter filter
	First  bool // page
}

// Filtered reports whether the filter chooses some of the events.
func (l eventList) Filtered() bool { return l.Filter.Query() != "" }

// Path returns the path of an event's own page; "" if it has none.
func (eventList) Path(e operate.EventRow) string {
	switch {
	case e.IdempotencyKey != "":
		return eventPath(e.IdempotencyKey)
	case e.JobID != nil:
		return eventPath(fmt.Sprint(*e.JobID))
	default:
		return ""
	}
}

// Pick returns how a form names an event: l and the id of a dead letter, or j and the id of a job that may be cancelled.
func (eventList) Pick(e operate.EventRow) string {
	if id, ok := operate.EventRetry.Takes(&e); ok {
		return fmt.Sprintf("l%d", id)
	}
	if id, ok := operate.EventCancel.Takes(&e); ok {
		return fmt.Sprintf("j%d", id)
	}
	return ""
}

// Retries reports whether dead letters may be among those that match.
func (l eventList) Retries() bool {
	return slices.Contains([]string{"", operate.EventDead}, l.Filter["state"])
}

// Cancels reports whether events that may be cancelled may be among those that match.
func (l eventList) Cancels() bool {
	return slices.Contains([]string{"", operate.EventWaiting, operate.EventWorking, operate.EventParked}, l.Filter["state"])
}

type eventCount struct {
	State string
	N     operate.Count
}

type eventCounts struct {
	Filter filter
	Counts []eventCount
}

// eventsPage lists events of every state.
func (h *Handler) eventsPage(r *http.Request) (*view, error) {
	f, chosen, err := h.eventFilter(r)
	if err != nil {
		return nil, err
	}
	v := h.view(r, "Events", "events")
	place := r.URL.Query().Get("from")
	if place != "" {
		v.Live = "" // an update would move the rows
		_, err := operate.Events(r.Context(), h.db(), operate.EventFilter{}, place, 1)
		if errors.Is(err, operate.ErrEventPlace) {
			return nil, refuse(http.StatusBadRequest, "%s is not a position in the list of events", printable(place))
		}
	}
	add(v, "filters", "", func(context.Context) reading[filterForm] { return fresh(filterForm{f, operate.EventStates}, nil) })
	add(v, "counts", "", func(ctx context.Context) reading[eventCounts] {
		return derived(h.sources.state.get(ctx), func(state status.Status) eventCounts { return eventCounts{f, countEvents(state)} })
	})
	add(v, "list", "", func(ctx context.Context) reading[eventList] {
		page, err := operate.Events(ctx, h.db(), chosen, place, eventsShown)
		return fresh(eventList{EventPage: page, Filter: f, First: place == ""}, err)
	})
	return v, nil
}

// countEvents returns the counts of the status: events that have not ended, and dead letters.
func countEvents(s status.Status) []eventCount {
	var parked operate.Count
	for _, at := range s.Parked {
		parked = plus(parked, at.Count)
	}
	for _, held := range s.Held {
		parked = plus(parked, held.Count)
	}
	return []eventCount{{operate.EventWaiting, s.Outbox.Count}, {operate.EventParked, parked}, {operate.EventDead, letters(s)}}
}
