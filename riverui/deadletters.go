package webui

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/internal/operate/templates"
	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	lettersShown   = 50
	lettersAtOnce  = 10_000  // that one click retries or drops, in one transaction
	lettersCounted = 100_000 // at most
)

// letterFilter chooses dead letters as the address of the page, or a form, says it.
type letterFilter struct {
	Status, Template, Actor, EventType, Since, Until string

	choice operate.Selection
}

// letterFields are the names by which addresses and forms say a filter.
var letterFields = []string{"status", "template", "actor", "type", "since", "until"}

func (f *letterFilter) field(name string) *string {
	return map[string]*string{
		"status": &f.Status, "template": &f.Template, "actor": &f.Actor, "type": &f.EventType, "since": &f.Since, "until": &f.Until,
	}[name]
}

// Query returns the filter as a query, beginning with ? if there is one. more are further pairs.
func (f letterFilter) Query(more ...string) string { return queryOf(f.Fields(), more...) }

// Fields returns the fields that are set, for a form.
func (f letterFilter) Fields() map[string]string { return setFields(letterFields, f.field) }

// Statuses are those that the form offers.
func (f letterFilter) Statuses() []string {
	return []string{
		string(jobs.StatusTemplateNotFound), string(jobs.StatusTemplateNotMarked), string(jobs.StatusTemplateEmpty),
		string(jobs.StatusInstanceKeyConflict), string(jobs.StatusInvalidInput), "error", "cancelled", "discarded", "deleted",
	}
}

// readLetterFilter reads a filter; false if it said what is wrong with it.
func (h *Handler) readLetterFilter(w http.ResponseWriter, r *http.Request, form url.Values) (f letterFilter, ok bool) {
	wrong := func(format string, args ...any) (letterFilter, bool) {
		h.say(w, r, http.StatusBadRequest, format, args...)
		return f, false
	}
	if err := readFields(form, letterFields, f.field); err != nil {
		return wrong("%s", err)
	}
	if !isStatus(f.Status) {
		return wrong("%s is not a status", printable(f.Status))
	}
	f.choice = operate.Selection{Status: f.Status, Actor: f.Actor, EventType: f.EventType}
	var err error
	if f.choice.Since, err = readMoment(f.Since); err != nil {
		return wrong("since is %s", err)
	}
	if f.choice.Until, err = readMoment(f.Until); err != nil {
		return wrong("until is %s", err)
	}
	if f.Template == "" {
		return f, true
	}
	err = h.db().read(r.Context(), func(tx pgx.Tx) (err error) {
		f.choice.Template, err = templates.CollectionID(r.Context(), tx, f.Template)
		return err
	})
	if err != nil {
		h.fail(w, r, err)
		return f, false
	}
	if f.choice.Template == uuid.Nil {
		return wrong("there is no template %s; the page Templates lists them", printable(f.Template))
	}
	return f, true
}

// readMoment reads a time, or how long ago it was; zero for "".
func readMoment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return subscribe.ParseSince(text, time.Now())
}

// isStatus tells what may be a status from what somebody typed into the address.
func isStatus(text string) bool {
	if len(text) > 100 {
		return false
	}
	for _, c := range text {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}

// readIDPage reads the place in a list; false if it said what is wrong with it. of is what the list is made of.
func (h *Handler) readIDPage(w http.ResponseWriter, r *http.Request, limit int, of string) (page operate.IDPage, ok bool) {
	page.Limit = limit + 1 // tells whether there are more
	for name, id := range map[string]*int64{"before": &page.Before, "after": &page.After} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		var err error
		if *id, err = strconv.ParseInt(text, 10, 64); err != nil || *id < 1 {
			h.say(w, r, http.StatusBadRequest, "%s must be the number of %s", name, of)
			return page, false
		}
	}
	return page, true
}

// letter is a dead letter as the page shows it.
type letter struct{ operate.DeadLetter }

// Key is what the event's own page is called by; "" if it has none.
func (l letter) Key() string { return *cmp.Or(l.IdempotencyKey, new(string)) }

// Why says in words why the event ended without an instance.
func (l letter) Why() string { return cmp.Or(l.Reason(), operate.AdviceFor(l.Status).Why) }

// letterList is the section of the dead letters that match a filter.
type letterList struct {
	listPage[letter, int64]

	Filter   letterFilter
	Matching operate.Count
	AtOnce   operate.Count // that one click takes
}

// Filtered reports whether some are left out.
func (l letterList) Filtered() bool { return l.Filter.Query() != "" }

// Part reports whether one click takes a part of those that match.
func (l letterList) Part() bool { return l.Matching != l.AtOnce }

// letterReasons is the section that says what to do.
type letterReasons struct {
	Filter letterFilter
	Counts []letterReason
}

type letterReason struct {
	status.DeadLetterCount
	operate.DeadLetterAdvice
}

func (h *Handler) lettersPage(w http.ResponseWriter, r *http.Request) {
	filter, ok := h.readLetterFilter(w, r, r.URL.Query())
	if !ok {
		return
	}
	page, ok := h.readIDPage(w, r, lettersShown, "a dead letter")
	if !ok {
		return
	}
	v := h.view(r, "Dead letters", "deadletters")
	v.Done = h.done(r)
	add(v, "filters", "", func(context.Context) reading[letterFilter] { return fresh(filter, nil) })
	add(v, "reasons", "", func(ctx context.Context) reading[letterReasons] { return h.letterReasons(ctx, filter) })
	add(v, "list", "", func(ctx context.Context) reading[letterList] {
		return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (letterList, error) { return readLetters(ctx, tx, filter, page) })
	})
	h.serve(w, r, v)
}

func readLetters(ctx context.Context, tx pgx.Tx, filter letterFilter, page operate.IDPage) (list letterList, err error) {
	list.Filter = filter
	letters, err := operate.LatestDeadLetters(ctx, tx, filter.choice, page)
	if err != nil {
		return list, err
	}
	rows := make([]letter, len(letters))
	for i, l := range letters {
		rows[i].DeadLetter = l
	}
	list.listPage = newListPage(rows, page.Limit, page.After > 0, page.Before > 0, func(l letter) int64 { return l.ID })
	list.Matching, err = operate.CountDeadLettersUpTo(ctx, tx, filter.choice, lettersCounted)
	list.AtOnce = operate.Count{N: min(list.Matching.N, lettersAtOnce)}
	return list, err
}

func (h *Handler) letterReasons(ctx context.Context, filter letterFilter) reading[letterReasons] {
	state := h.sources.state.get(ctx)
	reasons := letterReasons{Filter: filter}
	for _, count := range state.Value.DeadLetters {
		reasons.Counts = append(reasons.Counts, letterReason{count, operate.AdviceFor(count.Status)})
	}
	return reading[letterReasons]{Value: reasons, At: state.At, Err: state.Err}
}
