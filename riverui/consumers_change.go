package webui

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// consumerChangePage asks before a change of a consumer.
type consumerChangePage struct {
	page
	consumerRow

	Move  operate.ConsumerMove // of a reset
	IDs   []int64              // of dead letters to drop; none: all
	Count int64                // of dead letters to drop
}

// consumerChange reads the consumer of a request for such a page. more reads what else the page shows; nil: nothing.
func (h *Handler) consumerChange(r *http.Request, title string, more func(context.Context, pgx.Tx, *consumerChangePage) error) (*consumerChangePage, error) {
	name := r.PathValue("name")
	p := &consumerChangePage{page: h.page(r, title+name)}
	err := h.db().read(r.Context(), func(tx pgx.Tx) error {
		c, err := subscribe.FindConsumer(r.Context(), tx, name)
		p.consumerRow = consumerRowOf(c)
		if err == nil && more != nil {
			err = more(r.Context(), tx, p)
		}
		return err
	})
	return p, consumerError(name, err)
}

// consumerError returns the refusal that says why a consumer cannot be read or changed, or err.
func consumerError(name string, err error) error {
	switch {
	case errors.Is(err, subscribe.ErrNoConsumer):
		return refuse(http.StatusNotFound, "there is no consumer %s; it was deleted, or never subscribed", printable(name))
	case errors.Is(err, subscribe.ErrBeyondEnd), errors.Is(err, subscribe.ErrRewound), errors.Is(err, subscribe.ErrPruned):
		return refuse(http.StatusConflict, "nothing was changed: %v", err)
	default:
		return err
	}
}

// resetTo reads where to move a consumer.
func resetTo(r *http.Request) (subscribe.Start, error) {
	form := values(r)
	text := strings.TrimSpace(form.Get("to"))
	if text == "" {
		text = strings.TrimSpace(form.Get("at"))
	}
	to, err := subscribe.ParseStart(text, time.Now())
	if err != nil {
		err = refuse(http.StatusBadRequest, "%s is not a position in the history: %v", printable(text), err)
	}
	return to, err
}

// askReset shows what moving a consumer would do.
func (h *Handler) askReset(r *http.Request) (string, confirmPage, error) {
	to, err := resetTo(r)
	if err != nil {
		return "", nil, err
	}
	p, err := h.consumerChange(r, "Move the consumer ", func(ctx context.Context, tx pgx.Tx, p *consumerChangePage) (err error) {
		p.Move, err = operate.PlanReset(ctx, tx, p.Name, to)
		return err
	})
	return "consumer_reset.html", p, err
}

// resetConsumer moves a consumer to a cursor that was shown. If it skips events, their number must have been typed.
func (h *Handler) resetConsumer(r *http.Request, by *operator) (string, error) {
	to, err := resetTo(r)
	if err != nil {
		return "", err
	}
	most, err := shown(r, "skipped", 0, math.MaxInt64)
	if err != nil {
		return "", err
	}
	if most > 0 && digits(r.PostForm.Get("confirm")) != strconv.FormatInt(most, 10) {
		return "", askAgain(http.StatusBadRequest, "nothing was changed: to confirm, type the number of events that will be skipped")
	}
	name := r.PathValue("name")
	_, err = by.ResetConsumer(r.Context(), name, to, most)
	return consumerPath(name), consumerError(name, err)
}

// digits drops what people write between the digits of a number.
func digits(text string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(" ,.\u202f\u00a0", c) {
			return -1
		}
		return c
	}, text)
}

func (h *Handler) askDelete(r *http.Request) (string, confirmPage, error) {
	p, err := h.consumerChange(r, "Delete the consumer ", nil)
	return "consumer_delete.html", p, err
}

// deleteConsumer deletes a consumer whose name was typed, if it is as the page had shown it.
func (h *Handler) deleteConsumer(r *http.Request, by *operator) (string, error) {
	name := r.PathValue("name")
	letters, err := shown(r, "letters", 0, math.MaxInt64)
	cursor, cursorErr := subscribe.ParseCursor(r.PostForm.Get("at"))
	if err != nil || cursorErr != nil {
		return "", refuse(http.StatusBadRequest, "what the page showed is missing: start from the page of the consumer")
	}
	seen := subscribe.Consumer{Name: name, DeadLetters: letters, Cursor: cursor}
	if process := r.PostForm.Get("process"); process != "" {
		seen.Process = &process
	}
	if r.PostForm.Get("confirm") != name {
		return "", askAgain(http.StatusBadRequest, "nothing was deleted: to confirm, type the consumer's name exactly as it is above")
	}
	err = by.DeleteConsumer(r.Context(), seen, seen.Process != nil || seen.DeadLetters > 0)
	return "consumers", consumerError(name, err)
}

func (h *Handler) replayConsumerLetters(r *http.Request, by *operator) (string, error) {
	ids, err := selected(r)
	if err != nil {
		return "", err
	}
	name := r.PathValue("name")
	n, err := by.ReplayConsumerLetters(r.Context(), name, ids...)
	return consumerLettersChanged(name, n, err)
}

func (h *Handler) dropConsumerLetters(r *http.Request, by *operator) (string, error) {
	most, err := shown(r, "expect", 1, math.MaxInt64)
	if err != nil {
		return "", err
	}
	ids, err := selected(r)
	if err != nil {
		return "", err
	}
	name := r.PathValue("name")
	n, err := by.DropConsumerLetters(r.Context(), name, most, ids...)
	return consumerLettersChanged(name, n, err)
}

func consumerLettersChanged(name string, n int, err error) (string, error) {
	if err == nil && n == 0 {
		err = refuse(http.StatusConflict, "nothing was changed: these dead letters no longer exist")
	}
	return consumerPath(name), consumerError(name, err)
}

func (h *Handler) askConsumerDrop(r *http.Request) (string, confirmPage, error) {
	ids, err := selected(r)
	if err != nil {
		return "", nil, err
	}
	p, err := h.consumerChange(r, "Drop dead letters of ", nil)
	if p.IDs, p.Count = ids, int64(len(ids)); ids == nil {
		p.Count = p.DeadLetters
	}
	if err == nil && p.Count == 0 {
		err = refuse(http.StatusConflict, "there is nothing to drop: the consumer has no dead letters")
	}
	return "consumer_drop.html", p, err
}
