package webui

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

type resetPage struct {
	page
	consumerRow

	Move    operate.ConsumerMove
	Problem string // why nothing was changed
}

// resetTo reads where to move a consumer; false if it has said what is wrong.
func (h *Handler) resetTo(w http.ResponseWriter, r *http.Request, form url.Values) (subscribe.Start, bool) {
	text := strings.TrimSpace(form.Get("to"))
	if text == "" {
		text = strings.TrimSpace(form.Get("at"))
	}
	to, err := subscribe.ParseStart(text, time.Now())
	if err != nil {
		h.say(w, r, http.StatusBadRequest, "%s is not a position in the history: %v", printable(text), err)
		return to, false
	}
	return to, true
}

func (h *Handler) askReset(w http.ResponseWriter, r *http.Request) {
	if to, ok := h.resetTo(w, r, r.URL.Query()); ok {
		h.showReset(w, r, http.StatusOK, to, "")
	}
}

// showReset shows what a reset would do, and asks for a confirmation.
func (h *Handler) showReset(w http.ResponseWriter, r *http.Request, status int, to subscribe.Start, problem string) {
	name := r.PathValue("name")
	p := &resetPage{page: h.page(r, "Move the consumer "+name), Problem: problem}
	err := h.db().read(r.Context(), func(tx pgx.Tx) error {
		c, err := subscribe.FindConsumer(r.Context(), tx, name)
		if err != nil {
			return err
		}
		p.consumerRow = consumerRowOf(c)
		p.Move, err = operate.PlanReset(r.Context(), tx, name, to)
		return err
	})
	if err != nil {
		h.consumerFailed(w, r, err)
		return
	}
	h.render(w, r, status, "consumer_reset.html", p)
}

// consumerFailed says why a consumer could not be changed.
func (h *Handler) consumerFailed(w http.ResponseWriter, r *http.Request, err error) {
	_, isOther := errors.AsType[*operate.NotAsSeenError](err)
	switch {
	case errors.Is(err, subscribe.ErrNoConsumer):
		h.say(w, r, http.StatusNotFound, "there is no consumer %s; it was deleted, or never subscribed", printable(r.PathValue("name")))
	case errors.Is(err, subscribe.ErrBeyondEnd), errors.Is(err, subscribe.ErrRewound), errors.Is(err, subscribe.ErrPruned):
		h.say(w, r, http.StatusConflict, "nothing was changed: %v", err)
	case isOther:
		h.say(w, r, http.StatusConflict, "nothing was changed: that is more than the page showed; go back and check again")
	default:
		h.fail(w, r, err)
	}
}

// resetConsumer moves a consumer to a cursor that was shown. If it skips events, their number must have been typed.
func (h *Handler) resetConsumer(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	to, ok := h.resetTo(w, r, r.PostForm)
	if !ok {
		return
	}
	most, err := strconv.ParseInt(r.PostForm.Get("skipped"), 10, 64)
	if err != nil || most < 0 {
		h.say(w, r, http.StatusBadRequest, "the number of events to skip is missing: start from the page of the consumer")
		return
	}
	if typed := digits(r.PostForm.Get("confirm")); most > 0 && typed != strconv.FormatInt(most, 10) {
		h.showReset(w, r, http.StatusBadRequest, to, "nothing was changed: to confirm, type the number of events that will be skipped")
		return
	}
	name := r.PathValue("name")
	by := h.operator(r)
	if _, err := by.ResetConsumer(r.Context(), name, to, most); err != nil {
		h.consumerFailed(w, r, err)
		return
	}
	h.back(w, r, consumerPath(name), by.auditID())
}

// digits drops what people write between the digits of a number.
func digits(text string) string {
	return strings.Map(func(c rune) rune {
		if c == ' ' || c == ',' || c == '.' || c == '\u202f' || c == '\u00a0' {
			return -1
		}
		return c
	}, text)
}

type deletePage struct {
	page
	consumerRow

	Problem string
}

func (h *Handler) askDelete(w http.ResponseWriter, r *http.Request) {
	h.showDelete(w, r, http.StatusOK, "")
}

func (h *Handler) showDelete(w http.ResponseWriter, r *http.Request, status int, problem string) {
	name := r.PathValue("name")
	p := &deletePage{page: h.page(r, "Delete the consumer "+name), Problem: problem}
	err := h.db().read(r.Context(), func(tx pgx.Tx) error {
		c, err := subscribe.FindConsumer(r.Context(), tx, name)
		p.consumerRow = consumerRowOf(c)
		return err
	})
	if err != nil {
		h.consumerFailed(w, r, err)
		return
	}
	h.render(w, r, status, "consumer_delete.html", p)
}

// deleteConsumer deletes a consumer whose name was typed, if it is as the page had shown it.
func (h *Handler) deleteConsumer(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	name := r.PathValue("name")
	seen := subscribe.Consumer{Name: name}
	var lettersErr, cursorErr error
	seen.DeadLetters, lettersErr = strconv.ParseInt(r.PostForm.Get("letters"), 10, 64)
	seen.Cursor, cursorErr = subscribe.ParseCursor(r.PostForm.Get("at"))
	if lettersErr != nil || cursorErr != nil {
		h.say(w, r, http.StatusBadRequest, "what the page showed is missing: start from the page of the consumer")
		return
	}
	if process := r.PostForm.Get("process"); process != "" {
		seen.Process = &process
	}
	if r.PostForm.Get("confirm") != name {
		h.showDelete(w, r, http.StatusBadRequest, "nothing was deleted: to confirm, type the consumer's name exactly as it is above")
		return
	}
	force := seen.Process != nil || seen.DeadLetters > 0
	by := h.operator(r)
	if err := by.DeleteConsumer(r.Context(), seen, force); err != nil {
		h.consumerFailed(w, r, err)
		return
	}
	h.back(w, r, "consumers", by.auditID())
}

// chosenConsumerLetters reads which dead letters a form is about: no ids for all. false: it has said what is wrong.
func (h *Handler) chosenConsumerLetters(w http.ResponseWriter, r *http.Request, form url.Values) (ids []int64, ok bool) {
	texts := form["id"]
	switch {
	case form.Get("all") != "":
		return nil, true
	case form.Get("one") != "":
		texts = []string{form.Get("one")}
	case len(texts) == 0:
		h.say(w, r, http.StatusBadRequest, "select dead letters, or choose all")
		return nil, false
	}
	return h.readLetterIDs(w, r, texts)
}

func (h *Handler) replayConsumerLetters(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	if ids, ok := h.chosenConsumerLetters(w, r, r.PostForm); ok {
		by := h.operator(r)
		n, err := by.ReplayConsumerLetters(r.Context(), r.PathValue("name"), ids...)
		h.consumerLettersChanged(w, r, by, n, err)
	}
}

func (h *Handler) dropConsumerLetters(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	most, err := strconv.ParseInt(r.PostForm.Get("expect"), 10, 64)
	if err != nil || most < 1 {
		h.say(w, r, http.StatusBadRequest, "the number of dead letters to drop is missing: start from the page of the consumer")
		return
	}
	if ids, ok := h.chosenConsumerLetters(w, r, r.PostForm); ok {
		by := h.operator(r)
		n, err := by.DropConsumerLetters(r.Context(), r.PathValue("name"), most, ids...)
		h.consumerLettersChanged(w, r, by, n, err)
	}
}

// consumerLettersChanged responds to a change of n dead letters.
func (h *Handler) consumerLettersChanged(w http.ResponseWriter, r *http.Request, by *operator, n int, err error) {
	switch {
	case err != nil:
		h.consumerFailed(w, r, err)
	case n == 0:
		h.say(w, r, http.StatusConflict, "nothing was changed: these dead letters no longer exist")
	default:
		h.back(w, r, consumerPath(r.PathValue("name")), by.auditID())
	}
}

type consumerDropPage struct {
	page
	consumerRow

	IDs   []int64 // empty: all
	Count int64
}

func (h *Handler) askConsumerDrop(w http.ResponseWriter, r *http.Request) {
	ids, ok := h.chosenConsumerLetters(w, r, r.URL.Query())
	if !ok {
		return
	}
	name := r.PathValue("name")
	p := &consumerDropPage{page: h.page(r, "Drop dead letters of "+name), IDs: ids, Count: int64(len(ids))}
	err := h.db().read(r.Context(), func(tx pgx.Tx) error {
		c, err := subscribe.FindConsumer(r.Context(), tx, name)
		p.consumerRow = consumerRowOf(c)
		return err
	})
	if err != nil {
		h.consumerFailed(w, r, err)
		return
	}
	if len(ids) == 0 {
		p.Count = p.DeadLetters
	}
	if p.Count == 0 {
		h.say(w, r, http.StatusConflict, "there is nothing to drop: the consumer has no dead letters")
		return
	}
	h.render(w, r, http.StatusOK, "consumer_drop.html", p)
}
