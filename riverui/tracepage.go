package webui

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/iu-core/iuworker/internal/operate/trace"
)

// foundPage lists what a search found if it is not exactly one event.
type foundPage struct {
	page
	Query  string
	Events []foundEvent // several
	More   bool         // than these
}

// foundEvent is one of several events that a search found.
type foundEvent struct {
	trace.Event
	Path string
}

// eventDetail is what the page of an event shows.
type eventDetail struct {
	trace.Event

	Steps    []eventStep
	Letters  []string // its dead letters, as forms name them
	Job      string   // its job that may be cancelled, as forms name it
	Gate     string   // the closed gate that it waits for
	Paused   string   // the paused queue that it waits in
	NoWorker bool
}

// Repair returns the command that lets a waiting event continue; "" if there is none.
func (d eventDetail) Repair() string {
	switch {
	case d.NoWorker:
		return "iuworker work"
	case d.Gate != "":
		return "iuworker gate open " + d.Gate
	case d.Paused == "scaleout":
		return "iuworker scaleout resume"
	case len(d.Letters) > 0 && d.EventID != nil:
		return "iuworker dead-letters retry --event " + d.EventID.String()
	default:
		return ""
	}
}

// TemplatePath returns the page of the event's template; "" if it does not exist.
func (d eventDetail) TemplatePath() string {
	if d.TemplateKey == nil {
		return ""
	}
	return "/templates/" + url.PathEscape(*d.TemplateKey)
}

// Actor returns the event's actor; "" if it is not known.
func (d eventDetail) Actor() string {
	switch {
	case d.Instance != nil:
		return d.Instance.Actor
	case len(d.Outbox) > 0:
		return d.Outbox[0].Actor
	case len(d.Jobs) > 0:
		return d.Jobs[0].Args.Actor
	default:
		return ""
	}
}

// trace finds an event for the search box.
func (h *Handler) trace(w http.ResponseWriter, r *http.Request) {
	query := strings.TrimSpace(r.URL.Query().Get("q"))
	if query == "" {
		http.Redirect(w, r, h.at("events"), http.StatusSeeOther)
		return
	}
	h.findEvent(w, r, query)
}

// event shows the event with an idempotency key, or redirects to it from anything else that names it.
func (h *Handler) event(w http.ResponseWriter, r *http.Request) {
	h.findEvent(w, r, r.PathValue("key"))
}

func (h *Handler) findEvent(w http.ResponseWriter, r *http.Request, reference string) {
	if err := badReference(reference); err != nil {
		h.fail(w, r, err)
		return
	}
	traces, err := trace.Find(r.Context(), h.db(), reference)
	var several *trace.AmbiguousError
	switch {
	case errors.Is(err, trace.ErrNotFound):
		h.render(w, r, http.StatusNotFound, "found.html", &foundPage{page: h.page(r, "No event found"), Query: reference})
	case errors.As(err, &several):
		h.severalEvents(w, r, reference, several.References)
	case err != nil:
		h.fail(w, r, err)
	case len(traces) > 1:
		h.render(w, r, http.StatusOK, "found.html", &foundPage{page: h.page(r, "Events found"), Query: reference, Events: foundEvents(traces)})
	case traces[0].IdempotencyKey != "" && traces[0].IdempotencyKey != r.PathValue("key"):
		http.Redirect(w, r, h.at(eventPath(traces[0].IdempotencyKey)), http.StatusSeeOther)
	case r.PathValue("key") == "": // an event without an idempotency key has the page of what names it
		http.Redirect(w, r, h.at(eventPath(reference)), http.StatusSeeOther)
	default:
		h.eventPage(w, r, reference, traces[0])
	}
}

// severalEvents lists the events that have an id with a prefix.
func (h *Handler) severalEvents(w http.ResponseWriter, r *http.Request, prefix string, references []string) {
	p := &foundPage{page: h.page(r, "Events found"), Query: prefix}
	for _, reference := range references {
		traces, err := trace.Find(r.Context(), h.db(), reference)
		if errors.Is(err, trace.ErrNotFound) {
			continue // it ended meanwhile
		}
		if err != nil {
			h.fail(w, r, err)
			return
		}
		p.Events = append(p.Events, foundEvents(traces)...)
	}
	p.More = len(references) >= 20
	h.render(w, r, http.StatusOK, "found.html", p)
}

func foundEvents(found []trace.Event) []foundEvent {
	events := make([]foundEvent, len(found))
	for i, event := range found {
		events[i] = foundEvent{Event: event, Path: eventPath(event.IdempotencyKey)}
		if event.IdempotencyKey == "" && len(event.DeadLetters) > 0 {
			events[i].Path = eventPath(strconv.FormatInt(event.DeadLetters[0].JobID, 10))
		}
	}
	return events
}

func (h *Handler) eventPage(w http.ResponseWriter, r *http.Request, reference string, first trace.Event) {
	v := h.view(r, "Event", "event")
	unread := &first
	add(v, "detail", "", func(ctx context.Context) reading[eventDetail] {
		if unread != nil {
			event := *unread
			unread = nil
			return fresh(eventDetailOf(event), nil)
		}
		traces, err := trace.Find(ctx, h.db(), reference)
		if err != nil || len(traces) == 0 {
			return reading[eventDetail]{Err: err}
		}
		return fresh(eventDetailOf(traces[0]), nil)
	})
	h.serve(w, r, v)
}

// eventDetailOf returns what an event's page shows and offers.
func eventDetailOf(event trace.Event) eventDetail {
	d := eventDetail{Event: event, Steps: eventSteps(&event), NoWorker: event.NoWorker()}
	for _, letter := range event.DeadLetters {
		d.Letters = append(d.Letters, "l"+strconv.FormatInt(letter.ID, 10))
	}
	for i := range event.Jobs {
		job := &event.Jobs[i]
		if !job.Cancellable {
			continue
		}
		d.Job = "j" + strconv.FormatInt(job.ID, 10)
		if job.Parked != nil {
			d.Gate = string(job.Parked.Gate)
		}
		if job.QueuePaused {
			d.Paused = job.Queue
		}
	}
	return d
}

// badReference returns the refusal of a text that names no event.
func badReference(text string) error {
	if len(text) > 300 || printable(text) != text && len([]rune(text)) <= 100 {
		return refuse(http.StatusBadRequest, "what to trace is an event id, an idempotency key, an instance's id or key, or the number of a job")
	}
	return nil
}
