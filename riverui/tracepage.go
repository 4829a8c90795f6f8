package webui

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/iu-core/iuworker/internal/operate/trace"
)

// foundPage lists what a search found if it is not exactly one event.
type foundPage struct {
	page
	Query string
	Found []trace.Event
	More  bool // there may be more than these
}

// Path returns the path of an event's own page.
func (*foundPage) Path(event trace.Event) string {
	if event.IdempotencyKey == "" && len(event.DeadLetters) > 0 {
		return eventPath(strconv.FormatInt(event.DeadLetters[0].JobID, 10))
	}
	return eventPath(event.IdempotencyKey)
}

// eventDetail is what the page of an event shows and offers.
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
	case queueCommand(d.Paused, false) != "":
		return queueCommand(d.Paused, false)
	case len(d.Letters) > 0 && d.EventID != nil:
		return "iuworker dead-letters retry --event " + d.EventID.String()
	default:
		return ""
	}
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
	found, more, err := h.findEvents(r.Context(), reference)
	p := &foundPage{page: h.page(r, "Events found"), Query: reference, Found: found, More: more}
	switch {
	case err != nil:
		h.fail(w, r, err)
	case len(found) == 0:
		p.Title = "No event found"
		h.render(w, r, http.StatusNotFound, "found.html", p)
	case len(found) > 1:
		h.render(w, r, http.StatusOK, "found.html", p)
	case found[0].IdempotencyKey != "" && found[0].IdempotencyKey != r.PathValue("key"):
		http.Redirect(w, r, h.at(eventPath(found[0].IdempotencyKey)), http.StatusSeeOther)
	case r.PathValue("key") == "": // an event without an idempotency key has the page of what names it
		http.Redirect(w, r, h.at(eventPath(reference)), http.StatusSeeOther)
	default:
		v := h.view(r, "Event", "event")
		add(v, "detail", "", func(ctx context.Context) reading[eventDetail] {
			found, err := trace.Find(ctx, h.live(), reference)
			if err != nil {
				return reading[eventDetail]{Err: err}
			}
			return fresh(eventDetailOf(found[0]), nil)
		})
		h.serve(w, r, v)
	}
}

// findEvents returns the events that a reference names, and whether there may be more: a prefix names several.
func (h *Handler) findEvents(ctx context.Context, reference string) (found []trace.Event, more bool, err error) {
	if err := badReference(reference); err != nil {
		return nil, false, err
	}
	found, err = trace.Find(ctx, h.live(), reference)
	if several, ok := errors.AsType[*trace.AmbiguousError](err); ok {
		for _, one := range several.References {
			events, err := trace.Find(ctx, h.live(), one)
			if err != nil && !errors.Is(err, trace.ErrNotFound) { // an event may have ended meanwhile
				return nil, false, err
			}
			found = append(found, events...)
		}
		return found, len(several.References) >= 20, nil
	}
	if errors.Is(err, trace.ErrNotFound) {
		return nil, false, nil
	}
	return found, false, err
}

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

// badReference returns the refusal of a text that names no event; nil if it may name one.
func badReference(text string) error {
	if len(text) > 300 || printable(text) != text && len([]rune(text)) <= 100 {
		return refuse(http.StatusBadRequest, "what to trace is an event id, an idempotency key, an instance's id or key, or the number of a job")
	}
	return nil
}
