package webui

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/jobs"
)

const (
	lettersShown   = 50
	lettersAtOnce  = 10_000  // that one click retries or drops, in one transaction
	lettersCounted = 100_000 // at most
)

// letterStatuses are the statuses that the filter's form offers.
var letterStatuses = []string{
	string(jobs.StatusTemplateNotFound), string(jobs.StatusTemplateNotMarked), string(jobs.StatusTemplateEmpty),
	string(jobs.StatusInstanceKeyConflict), string(jobs.StatusInvalidInput), "error", "cancelled", "discarded", "deleted",
}

// statusForm matches what may be a status.
var statusForm = regexp.MustCompile(`^[a-z_]{0,100}$`)

// letterFilter reads the filter of a request, and what it selects.
func (h *Handler) letterFilter(r *http.Request) (f filter, chosen operate.Selection, err error) {
	if f, err = readFilter(r, "status", "template", "actor", "type", "since", "until"); err != nil {
		return f, chosen, err
	}
	if !statusForm.MatchString(f["status"]) {
		return f, chosen, refuse(http.StatusBadRequest, "%s is not a status", printable(f["status"]))
	}
	chosen = operate.Selection{Status: f["status"], Actor: f["actor"], EventType: f["type"]}
	if chosen.Since, chosen.Until, err = f.span(); err != nil {
		return f, chosen, err
	}
	chosen.Template, err = h.templateOf(r.Context(), f)
	return f, chosen, err
}

// letterList is the section of the dead letters that match a filter.
type letterList struct {
	listPage[operate.DeadLetter, int64]

	Matching operate.Count
	AtOnce   operate.Count // that one click takes
}

// Part reports whether one click takes a part of those that match.
func (l letterList) Part() bool { return l.Matching != l.AtOnce }

// Why returns in words why an event ended without an instance.
func (l letterList) Why(letter operate.DeadLetter) string {
	return cmp.Or(letter.Reason(), operate.AdviceFor(letter.Status).Why)
}

// letterReasons is the section that says what to do.
type letterReasons struct {
	Filter filter
	Counts []letterReason
}

type letterReason struct {
	status.DeadLetterCount
	operate.DeadLetterAdvice
}

func (h *Handler) lettersPage(r *http.Request) (*view, error) {
	f, chosen, err := h.letterFilter(r)
	if err != nil {
		return nil, err
	}
	page, err := readIDPage(r, lettersShown, "a dead letter")
	if err != nil {
		return nil, err
	}
	v := h.view(r, "Dead letters", "deadletters")
	add(v, "filters", "", func(context.Context) reading[filterForm] { return fresh(filterForm{f, letterStatuses}, nil) })
	add(v, "reasons", "", func(ctx context.Context) reading[letterReasons] {
		return derived(h.sources.state.get(ctx), func(state status.Status) letterReasons {
			reasons := letterReasons{Filter: f}
			for _, count := range state.DeadLetters {
				reasons.Counts = append(reasons.Counts, letterReason{count, operate.AdviceFor(count.Status)})
			}
			return reasons
		})
	})
	addRead(v, h.db(), "list", "", func(ctx context.Context, tx pgx.Tx) (list letterList, err error) {
		rows, err := operate.LatestDeadLetters(ctx, tx, chosen, page)
		if err != nil {
			return list, err
		}
		list.listPage = newListPage(f, rows, page.Limit, page.After > 0, page.Before > 0, func(l operate.DeadLetter) int64 { return l.ID })
		list.Matching, err = operate.CountDeadLettersUpTo(ctx, tx, chosen, lettersCounted)
		list.AtOnce = operate.Count{N: min(list.Matching.N, lettersAtOnce)}
		return list, err
	})
	return v, nil
}

// lettersPath returns the path of the dead letters that match a filter.
func lettersPath(f filter) string { return "dead-letters" + f.Query() }

func (h *Handler) retryLetters(r *http.Request, by *operator) (string, error) {
	return h.changeLetters(r, by.RetryDeadLetters, false,
		"no dead letter was retried: they no longer exist, another session has them, or the outbox refuses their events")
}

func (h *Handler) dropLetters(r *http.Request, by *operator) (string, error) {
	return h.changeLetters(r, by.DropDeadLetters, true, "no dead letter was dropped: they no longer exist, or another session has them")
}

// changeLetters changes the dead letters of a form: one, those that are selected, or all that match the filter.
func (h *Handler) changeLetters(r *http.Request, change func(context.Context, operate.Letters, int64) (operate.Moved, error),
	destroys bool, none string,
) (string, error) {
	f, chosen, err := h.letterFilter(r)
	if err != nil {
		return "", err
	}
	ids, err := selected(r)
	if err != nil {
		return "", err
	}
	most := int64(lettersAtOnce)
	if r.PostForm.Get("expect") != "" || destroys && ids == nil {
		if most, err = shown(r, "expect", 1, lettersAtOnce); err != nil {
			return "", err
		}
	}
	moved, err := change(r.Context(), operate.Letters{IDs: ids, Filter: chosen, Limit: lettersAtOnce}, most)
	if _, more := errors.AsType[*operate.NotAsSeenError](err); more {
		err = refuse(http.StatusConflict, "nothing was changed: more than %d dead letters match now; go back and check them", most)
	} else if err == nil && moved.Done == 0 {
		err = refuse(http.StatusConflict, "%s", none)
	}
	return lettersPath(f), err
}

type dropPage struct {
	page
	Filter filter
	IDs    []int64 // none: all that match
	Count  int64
	What   string // describes the dead letters
	Back   string // path
}

// askDrop shows which dead letters a drop would delete.
func (h *Handler) askDrop(r *http.Request) (string, confirmPage, error) {
	f, chosen, err := h.letterFilter(r)
	if err != nil {
		return "", nil, err
	}
	ids, err := selected(r)
	if err != nil {
		return "", nil, err
	}
	matching := operate.Count{N: int64(len(ids))}
	if ids == nil {
		err = h.db().read(r.Context(), func(tx pgx.Tx) (err error) {
			matching, err = operate.CountDeadLettersUpTo(r.Context(), tx, chosen, lettersAtOnce)
			return err
		})
	}
	what := operate.Count{N: matching.N}.Of("dead letter", "dead letters")
	switch words := f.Words(); {
	case len(ids) == 1:
		what = "dead letter " + strconv.FormatInt(ids[0], 10)
	case ids == nil && words != "":
		what += " (" + words + ")"
	}
	if matching.More {
		what = "the oldest " + what
	}
	return "drop.html", &dropPage{page: h.page(r, "Drop dead letters"), Filter: f, IDs: ids, Count: matching.N, What: what, Back: lettersPath(f)}, err
}
