package webui

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/operate"
)

const (
	lettersShown  = 50
	lettersAtOnce = 10_000 // that one click retries or drops, in one transaction
)

// letter is a dead letter as the page shows it.
type letter struct {
	operate.DeadLetter
	Args jobs.AutoInstantiateArgs // of its event, as far as it fits
}

type lettersPage struct {
	page
	Statuses []operate.DeadLetterCount
	Status   string // shown alone; "" shows all
	Of       operate.Count
	Letters  []letter
	After    int64 // the next page begins after this one; 0: there is none
}

func (h *Handler) lettersPage(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var after int64
	if text := query.Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			h.say(w, r, http.StatusBadRequest, "after must be the number of a dead letter, and is not")
			return
		}
	}
	if !isStatus(query.Get("status")) {
		h.say(w, r, http.StatusBadRequest, "%s is no status", printable(query.Get("status")))
		return
	}
	p := &lettersPage{page: h.page(r, "Dead letters"), Status: query.Get("status")}
	p.Done = h.done(r)
	state, err := operate.ReadStatus(r.Context(), h.db())
	if err == nil {
		err = h.db().read(r.Context(), func(tx pgx.Tx) error { return p.read(r.Context(), tx, after) })
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	p.Statuses = state.DeadLetters
	for _, s := range p.Statuses {
		if s.Status == p.Status {
			p.Of = s.Count
		}
	}
	h.render(w, r, http.StatusOK, "deadletters.html", p)
}

func (p *lettersPage) read(ctx context.Context, tx pgx.Tx, after int64) error {
	letters, err := operate.DeadLetters(ctx, tx, operate.Selection{Status: p.Status}, after, lettersShown+1)
	if err != nil {
		return err
	}
	if len(letters) > lettersShown {
		letters = letters[:lettersShown]
		p.After = letters[lettersShown-1].ID
	}
	for _, l := range letters {
		var args jobs.AutoInstantiateArgs
		_ = json.Unmarshal(l.Event, &args) // what does not fit is shown as it is
		p.Letters = append(p.Letters, letter{DeadLetter: l, Args: args})
	}
	return nil
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

// chosen answers which dead letters a form is about: one by its id, or all of a status; false where it said what is
// wrong.
func (h *Handler) chosen(w http.ResponseWriter, r *http.Request, form url.Values) (id int64, status string, ok bool) {
	status = form.Get("status")
	if text := form.Get("id"); text != "" {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			h.say(w, r, http.StatusBadRequest, "there is no dead letter %s", printable(text))
			return 0, "", false
		}
		return id, status, true
	}
	if status == "" || !isStatus(status) {
		h.say(w, r, http.StatusBadRequest, "say which dead letters: one, or those of a status")
		return 0, "", false
	}
	return 0, status, true
}

func (h *Handler) retryLetters(w http.ResponseWriter, r *http.Request) {
	h.changeLetters(w, r, "dead_letter.retry", operate.RetryIDs,
		"no dead letter was retried: they are gone, somebody else has them, or the outbox refuses their events as they are")
}

func (h *Handler) dropLetters(w http.ResponseWriter, r *http.Request) {
	h.changeLetters(w, r, "dead_letter.drop", operate.DropIDs, "no dead letter was dropped: they are gone, or somebody else has them")
}

func (h *Handler) changeLetters(w http.ResponseWriter, r *http.Request, action string,
	do func(context.Context, operate.Querier, []int64) (int, error), none string,
) {
	if !h.form(w, r) {
		return
	}
	one, status, ok := h.chosen(w, r, r.PostForm)
	if !ok {
		return
	}
	id, err := h.change(r, action, func(ctx context.Context, tx pgx.Tx) (detail, error) {
		ids := []int64{one}
		if one == 0 {
			var err error
			if ids, err = operate.ChooseDeadLetters(ctx, tx, operate.Selection{Status: status}, lettersAtOnce); err != nil {
				return nil, err
			}
		}
		n, err := do(ctx, tx, ids)
		if err != nil || n == 0 {
			return nil, err
		}
		return detail{"ids": ids, "count": n, "status": status}, nil
	})
	switch {
	case err != nil:
		h.fail(w, r, err)
	case id == 0:
		h.say(w, r, http.StatusConflict, "%s", none)
	default:
		h.back(w, r, "dead-letters", id)
	}
}

type dropPage struct {
	page
	ID     int64
	Status string
	Of     operate.Count
}

// askDrop asks for a confirmation: what is dropped is gone for good.
func (h *Handler) askDrop(w http.ResponseWriter, r *http.Request) {
	id, status, ok := h.chosen(w, r, r.URL.Query())
	if !ok {
		return
	}
	state, err := operate.ReadStatus(r.Context(), h.db())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	p := &dropPage{page: h.page(r, "Drop dead letters"), ID: id, Status: status}
	for _, s := range state.DeadLetters {
		if s.Status == status {
			p.Of = s.Count
		}
	}
	h.render(w, r, http.StatusOK, "drop.html", p)
}
