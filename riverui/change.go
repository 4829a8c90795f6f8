package webui

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/iu-core/iuworker/internal/operate"
)

// operator makes the changes of one request.
type operator struct {
	operate.Operator

	auditIDs []int64 // of what was changed
}

// operator returns the user of a request as an operator whose changes are logged.
func (h *Handler) operator(r *http.Request) *operator {
	by := &operator{}
	by.Operator = operate.Operator{
		Pool: h.cfg.Pool, Actor: who(r.Context()).name, Remote: remote(r),
		Audited: func(line operate.AuditLine) {
			by.auditIDs = append(by.auditIDs, line.ID)
			h.cfg.Logger.InfoContext(r.Context(), "Audit: a change from the pages", slog.String("actor", line.Actor),
				slog.String("action", line.Action), slog.Any("detail", line.Detail), slog.Int64("audit_id", line.ID))
		},
	}
	return by
}

// auditID returns the id of the audit line of the whole change; 0 if there are none or several.
func (by *operator) auditID() int64 {
	if len(by.auditIDs) != 1 {
		return 0
	}
	return by.auditIDs[0]
}

// formChange makes the change of a form, and returns the path of the page that is shown next.
type formChange func(*http.Request, *operator) (path string, err error)

// confirmation reads the page that asks before a change. It returns the name of its template, and its data.
type confirmation func(*http.Request) (template string, data confirmPage, err error)

// confirmPage is the data of a page that asks. It embeds page.
type confirmPage interface{ setProblem(text string) }

func (p *page) setProblem(text string) { p.Problem = text }

// asks serves the page that asks before a change.
func (h *Handler) asks(read confirmation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { h.ask(w, r, read, http.StatusOK, "") }
}

func (h *Handler) ask(w http.ResponseWriter, r *http.Request, read confirmation, status int, problem string) {
	inTime, cancel := longer(w, r.WithContext(onPrimary(r.Context())))
	defer cancel()
	name, data, err := read(inTime)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	data.setProblem(problem)
	h.render(w, r, status, name, data)
}

// changes makes a change and redirects. If the change has to be confirmed again, it shows the page that asks.
func (h *Handler) changes(do formChange, read confirmation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			h.fail(w, r, unreadable(err, "this is not a form that a browser sends"))
			return
		}
		by := h.operator(r)
		inTime, cancel := longer(w, r.WithContext(onPrimary(r.Context())))
		defer cancel()
		path, err := do(inTime, by)
		refused, ok := errors.AsType[*refusal](err)
		switch {
		case ok && refused.again:
			h.ask(w, r, read, refused.status, refused.text)
		case err != nil:
			h.fail(w, r, err)
		default:
			h.back(w, r, path, by.auditIDs...)
		}
	}
}

// changeLimit bounds a change and the page that asks for it: a rollback of a million instances takes minutes.
const changeLimit = 10 * time.Minute

// longer returns a request that ends at changeLimit, and leaves as much time for its response.
func longer(w http.ResponseWriter, r *http.Request) (*http.Request, context.CancelFunc) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(changeLimit + writeTimeout)) // fails if there is none
	ctx, cancel := context.WithTimeout(r.Context(), changeLimit)
	return r.WithContext(ctx), cancel
}

// values returns the form of a change, or the query of a page.
func values(r *http.Request) url.Values {
	if r.Method == http.MethodPost {
		return r.PostForm
	}
	return r.URL.Query()
}

// either reports whether a request asks for the first of two opposites.
func either(r *http.Request, first, second, of string) (bool, error) {
	to := values(r).Get("to")
	if to != first && to != second {
		return false, refuse(http.StatusBadRequest, "say whether to %s or to %s %s", first, second, of)
	}
	return to == first, nil
}

// shown returns a number that a page showed and its form repeats.
func shown(r *http.Request, name string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(r.PostForm.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, refuse(http.StatusBadRequest, "%s must be the number that the page showed: go back and confirm again", name)
	}
	return n, nil
}

// selected returns the ids of the dead letters that a request selects, in order; none for all.
func selected(r *http.Request) (ids []int64, err error) {
	form := values(r)
	texts := form["id"]
	if form.Get("one") != "" {
		texts = []string{form.Get("one")}
	} else if form.Get("all") != "" {
		return nil, nil
	}
	if len(texts) == 0 || len(texts) > lettersAtOnce {
		return nil, refuse(http.StatusBadRequest, "say which dead letters: select some, or choose all")
	}
	for _, text := range texts {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			return nil, refuse(http.StatusBadRequest, "there is no dead letter %s", printable(text))
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
