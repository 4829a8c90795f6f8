package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

const eventsShown = 50

// eventRow is an event in the list.
type eventRow struct {
	operate.EventRow
}

// Path returns the event's own page; "" if it has none.
func (e eventRow) Path() string {
	switch {
	case e.IdempotencyKey != "":
		return eventPath(e.IdempotencyKey)
	case e.JobID != nil:
		return eventPath(fmt.Sprint(*e.JobID))
	default:
		return ""
	}
}

func eventPath(key string) string { return "/events/" + url.PathEscape(key) }

// TemplatePath returns the page of the event's template; "" if it does not exist.
func (e eventRow) TemplatePath() string {
	if e.TemplateKey == nil {
		return ""
	}
	return "/templates/" + url.PathEscape(*e.TemplateKey)
}

// Pick returns how a form names the event: l and the id of a dead letter, or j and the id of a job that may be cancelled.
func (e eventRow) Pick() string {
	if id, ok := operate.EventRetry.Takes(&e.EventRow); ok {
		return fmt.Sprintf("l%d", id)
	}
	if id, ok := operate.EventCancel.Takes(&e.EventRow); ok {
		return fmt.Sprintf("j%d", id)
	}
	return ""
}

type eventListData struct {
	operate.EventPage

	Filter   eventFilter
	Rows     []eventRow
	Filtered bool
	First    bool // page
	AtOnce   int
}

// Retries reports whether dead letters may be among those that match.
func (d eventListData) Retries() bool {
	return d.Filter.State == "" || d.Filter.State == operate.EventDead
}

// Cancels reports whether events that may be cancelled may be among those that match.
func (d eventListData) Cancels() bool {
	switch d.Filter.State {
	case "", operate.EventWaiting, operate.EventWorking, operate.EventParked:
		return true
	default:
		return false
	}
}

type eventCount struct {
	State string
	N     operate.Count
}

type eventFilterData struct {
	Filter eventFilter
	Counts []eventCount
}

// eventsPage lists events of every state.
func (h *Handler) eventsPage(w http.ResponseWriter, r *http.Request) {
	filter, ok := h.readEventFilter(w, r, r.URL.Query())
	if !ok {
		return
	}
	place := r.URL.Query().Get("from")
	read := func(ctx context.Context) (eventListData, error) {
		page, err := operate.Events(ctx, h.db(), filter.chosen, place, eventsShown)
		data := eventListData{
			EventPage: page, Filter: filter, Filtered: filter.Query() != "", First: place == "", AtOnce: operate.MaxEventsChanged,
		}
		for _, e := range page.Events {
			data.Rows = append(data.Rows, eventRow{e})
		}
		return data, err
	}
	if place != "" { // a place that no page gave is an error of the address
		_, err := operate.Events(r.Context(), h.db(), operate.EventFilter{}, place, 1)
		if errors.Is(err, operate.ErrEventPlace) {
			h.say(w, r, http.StatusBadRequest, "%s is not a position in the list of events", printable(place))
			return
		}
	}
	v := h.view(r, "Events", "events")
	v.Done = h.done(r)
	if place != "" {
		v.Live = "" // an update would move the rows
	}
	add(v, "filters", "", func(context.Context) reading[eventFilter] { return fresh(filter, nil) })
	add(v, "counts", "", func(ctx context.Context) reading[eventFilterData] {
		state := h.sources.state.get(ctx)
		return reading[eventFilterData]{Value: eventFilterData{filter, countEvents(state.Value)}, At: state.At, Err: state.Err}
	})
	add(v, "list", "", func(ctx context.Context) reading[eventListData] { return fresh(read(ctx)) })
	h.serve(w, r, v)
}

// countEvents returns the counts of the status: events that have not ended, and dead letters.
func countEvents(s status.Status) []eventCount {
	counts := map[string]operate.Count{operate.EventWaiting: s.Outbox.Count}
	sum := func(state string, n operate.Count) {
		counts[state] = plus(counts[state], n)
	}
	for _, parked := range s.Parked {
		sum(operate.EventParked, parked.Count)
	}
	for _, held := range s.Held {
		sum(operate.EventParked, held.Count)
	}
	for _, letters := range s.DeadLetters {
		sum(operate.EventDead, letters.Count)
	}
	var list []eventCount
	for _, state := range []string{operate.EventWaiting, operate.EventParked, operate.EventDead} {
		list = append(list, eventCount{state, counts[state]})
	}
	return list
}
