package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// chosenLetters are the dead letters that a form is about: one, those that were selected, or all that match the filter.
type chosenLetters struct {
	Filter letterFilter
	IDs    []int64 // empty: all that match
}

// readChosen reads which dead letters a form is about; false if it said what is wrong.
func (h *Handler) readChosen(w http.ResponseWriter, r *http.Request, form url.Values) (chosen chosenLetters, ok bool) {
	if chosen.Filter, ok = h.readLetterFilter(w, r, form); !ok {
		return chosen, false
	}
	texts := form["id"]
	switch {
	case form.Get("one") != "":
		texts = []string{form.Get("one")}
	case form.Get("all") != "":
		return chosen, true
	}
	if chosen.IDs, ok = h.readLetterIDs(w, r, texts); !ok {
		return chosen, false
	}
	if len(chosen.IDs) == 0 || len(chosen.IDs) > lettersAtOnce {
		h.say(w, r, http.StatusBadRequest, "say which dead letters: select some, or choose all that match")
		return chosen, false
	}
	slices.Sort(chosen.IDs)
	chosen.IDs = slices.Compact(chosen.IDs)
	return chosen, true
}

// readLetterIDs reads the numbers of dead letters; false if it said which is none.
func (h *Handler) readLetterIDs(w http.ResponseWriter, r *http.Request, texts []string) (ids []int64, ok bool) {
	for _, text := range texts {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			h.say(w, r, http.StatusBadRequest, "there is no dead letter %s", printable(text))
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// Back is where the user comes from.
func (c chosenLetters) Back() string { return "dead-letters" + c.Filter.Query() }

func (h *Handler) retryLetters(w http.ResponseWriter, r *http.Request) {
	h.changeLetters(w, r, operate.Operator.RetryDeadLetters, false,
		"no dead letter was retried: they no longer exist, another session has them, or the outbox refuses their events")
}

func (h *Handler) dropLetters(w http.ResponseWriter, r *http.Request) {
	h.changeLetters(w, r, operate.Operator.DropDeadLetters, true, "no dead letter was dropped: they no longer exist, or another session has them")
}

func (h *Handler) changeLetters(w http.ResponseWriter, r *http.Request,
	change func(operate.Operator, context.Context, operate.Letters, int64) (operate.Moved, error), destroys bool, none string,
) {
	if !h.form(w, r) {
		return
	}
	chosen, ok := h.readChosen(w, r, r.PostForm)
	if !ok {
		return
	}
	most := int64(lettersAtOnce)
	if text := r.PostForm.Get("expect"); text != "" || destroys && len(chosen.IDs) == 0 {
		var err error
		if most, err = strconv.ParseInt(text, 10, 64); err != nil || most < 1 || most > lettersAtOnce {
			h.say(w, r, http.StatusBadRequest, "expect must be the number of dead letters, from 1 to %d", lettersAtOnce)
			return
		}
	}
	by := h.operator(r)
	moved, err := change(by.Operator, r.Context(), operate.Letters{IDs: chosen.IDs, Filter: chosen.Filter.choice, Limit: lettersAtOnce}, most)
	_, isOther := errors.AsType[*operate.NotAsSeenError](err)
	switch {
	case isOther:
		h.say(w, r, http.StatusConflict, "nothing was changed: more than %d dead letters match now; go back and check them", most)
	case err != nil:
		h.fail(w, r, err)
	case moved.Done == 0:
		h.say(w, r, http.StatusConflict, "%s", none)
	default:
		h.back(w, r, chosen.Back(), by.auditID())
	}
}

type dropPage struct {
	page
	chosenLetters

	Count int64
	Part  bool // of those that match
}

// What describes the dead letters in words.
func (p *dropPage) What() string {
	if len(p.IDs) == 1 {
		return fmt.Sprintf("dead letter %d", p.IDs[0])
	}
	text := operate.Count{N: p.Count}.Of("dead letter", "dead letters")
	if p.Part {
		text = "the oldest " + text
	}
	var words []string
	for _, word := range [][2]string{
		{"status", p.Filter.Status}, {"template", p.Filter.Template}, {"actor", p.Filter.Actor}, {"event type", p.Filter.EventType},
		{"since", p.Filter.Since}, {"until", p.Filter.Until},
	} {
		if word[1] != "" && len(p.IDs) == 0 {
			words = append(words, word[0]+" "+word[1])
		}
	}
	if len(words) > 0 {
		text += " (" + strings.Join(words, ", ") + ")"
	}
	return text
}

// askDrop asks for a confirmation: a drop cannot be undone.
func (h *Handler) askDrop(w http.ResponseWriter, r *http.Request) {
	chosen, ok := h.readChosen(w, r, r.URL.Query())
	if !ok {
		return
	}
	p := &dropPage{page: h.page(r, "Drop dead letters"), chosenLetters: chosen, Count: int64(len(chosen.IDs))}
	if p.Count == 0 {
		err := h.db().read(r.Context(), func(tx pgx.Tx) error {
			matching, err := operate.CountDeadLettersUpTo(r.Context(), tx, chosen.Filter.choice, lettersAtOnce)
			p.Count, p.Part = matching.N, matching.More
			return err
		})
		if err != nil {
			h.fail(w, r, err)
			return
		}
	}
	h.render(w, r, http.StatusOK, "drop.html", p)
}
