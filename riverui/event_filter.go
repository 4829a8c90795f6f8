package webui

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/templates"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// eventFilter chooses events as the address of the page or a form says.
type eventFilter struct {
	State, Template, Suffix, Actor, EventType, Since, Until string

	chosen operate.EventFilter
}

// eventFields are the names of the fields in addresses and forms.
var eventFields = []string{"state", "template", "suffix", "actor", "type", "since", "until"}

func (f *eventFilter) field(name string) *string {
	return map[string]*string{
		"state": &f.State, "template": &f.Template, "suffix": &f.Suffix, "actor": &f.Actor, "type": &f.EventType,
		"since": &f.Since, "until": &f.Until,
	}[name]
}

// Fields returns the fields that are set, for a form.
func (f eventFilter) Fields() map[string]string { return setFields(eventFields, f.field) }

// Query returns the filter and more pairs as a query that begins with ?, or "".
func (f eventFilter) Query(more ...string) string { return queryOf(f.Fields(), more...) }

// Words describes the filter: "state dead, actor ann".
func (f eventFilter) Words() string {
	var words []string
	for _, name := range eventFields {
		if value := *f.field(name); value != "" {
			words = append(words, name+" "+value)
		}
	}
	return strings.Join(words, ", ")
}

// States returns the states that the form offers.
func (eventFilter) States() []string { return operate.EventStates }

// readEventFilter reads a filter. If it is invalid, it responds and returns false.
func (h *Handler) readEventFilter(w http.ResponseWriter, r *http.Request, form url.Values) (f eventFilter, ok bool) {
	wrong := func(format string, args ...any) (eventFilter, bool) {
		h.say(w, r, http.StatusBadRequest, format, args...)
		return f, false
	}
	if err := readFields(form, eventFields, f.field); err != nil {
		return wrong("%s", err)
	}
	if f.State != "" && !slices.Contains(operate.EventStates, f.State) {
		return wrong("%s is not a state of events: use one of %s", printable(f.State), strings.Join(operate.EventStates, ", "))
	}
	f.chosen = operate.EventFilter{State: f.State, Suffix: f.Suffix, Actor: f.Actor, EventType: f.EventType}
	for name, at := range map[string]*time.Time{"since": &f.chosen.Since, "until": &f.chosen.Until} {
		text := *f.field(name)
		if text == "" {
			continue
		}
		moment, err := subscribe.ParseSince(text, time.Now())
		if err != nil {
			return wrong("%s is %s: use a time such as 2026-12-31T18:00:00Z, or how long ago it was, such as 30d, 12h or 5m", name, printable(text))
		}
		*at = moment
	}
	if f.Template == "" {
		return f, true
	}
	err := h.db().read(r.Context(), func(tx pgx.Tx) error {
		template, err := templates.Find(r.Context(), tx, f.Template)
		f.chosen.Template = template.ID
		return err
	})
	var none *templates.NotFoundError
	switch {
	case errors.As(err, &none) && len(none.Nearest) > 0:
		return wrong("there is no template %s; did you mean %s?", printable(f.Template), strings.Join(none.Nearest, ", "))
	case errors.As(err, &none):
		return wrong("there is no template %s; the page Templates lists them", printable(f.Template))
	case err != nil:
		h.fail(w, r, err)
		return f, false
	}
	return f, true
}
