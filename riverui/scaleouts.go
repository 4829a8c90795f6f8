package webui

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/jobs"
)

const (
	scaleoutsShown = 100
	scaleoutsTyped = 1000 // jobs from which on a cancel is confirmed by typing the prefix
)

// readScaleouts reads the scale-outs, and measures how fast they are.
func (h *Handler) readScaleouts(ctx context.Context) ([]scaleout.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	lines, err := scaleout.List(ctx, h.cfg.Pool, scaleoutsShown)
	if err == nil {
		h.sources.scaleouts.Measure(lines, time.Now())
	}
	return lines, err
}

// scaleoutNotes is what holds all scale-outs back.
type scaleoutNotes struct {
	Paused bool
	Closed []operate.Gate
	Idle   bool // no worker lives
}

func (h *Handler) scaleoutsPage(r *http.Request) (*view, error) {
	v := h.view(r, "Scale-outs", "scaleouts")
	if prefix, cancelled := strings.CutPrefix(r.URL.Query().Get("done"), "cancelled:"); cancelled {
		if line, err := h.scaleout(r.Context(), prefix); err == nil && line.Cancelled > 0 {
			v.Done = fmt.Sprintf("%s of the scale-out %s cancelled", operate.Count{N: line.Cancelled}.Of("job", "jobs"), line.Prefix)
		}
	}
	add(v, "notes", "", func(ctx context.Context) reading[scaleoutNotes] {
		paused := fresh(snapshot(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (bool, error) { return scaleout.Paused(ctx, tx) }))
		return both(paused, h.sources.state.get(ctx), func(paused bool, state status.Status) scaleoutNotes {
			return scaleoutNotes{
				Paused: paused, Closed: slices.DeleteFunc(slices.Clone(state.Gates), func(g operate.Gate) bool { return g.Open }),
				Idle: !slices.ContainsFunc(state.Workers, func(w status.Worker) bool { return w.Alive }),
			}
		})
	})
	add(v, "list", "", func(ctx context.Context) reading[[]scaleout.Line] { return fresh(h.readScaleouts(ctx)) })
	return v, nil
}

// scaleout reads one of the scale-outs that are shown.
func (h *Handler) scaleout(ctx context.Context, prefix string) (line scaleout.Line, err error) {
	lines, err := h.readScaleouts(ctx)
	if err != nil {
		return line, err
	}
	i := slices.IndexFunc(lines, func(l scaleout.Line) bool { return l.Prefix == prefix })
	if i < 0 {
		return line, refuse(http.StatusNotFound, "there is no scale-out %s among the latest %d", printable(prefix), scaleoutsShown)
	}
	return lines[i], nil
}

// pauseScaleouts pauses the queue of all scale-outs, or resumes it.
func (h *Handler) pauseScaleouts(r *http.Request, by *operator) (string, error) {
	pause, err := either(r, "pause", "resume", "the scale-outs")
	if err != nil {
		return "", err
	}
	return "scaleouts", pauseQueue(r, by, jobs.QueueScaleout, pause)
}

type cancelScaleoutPage struct {
	page
	Line  scaleout.Line
	Typed bool // the prefix has to be typed
}

// askCancelScaleout shows what a cancel does.
func (h *Handler) askCancelScaleout(r *http.Request) (string, confirmPage, error) {
	line, err := h.scaleout(r.Context(), values(r).Get("prefix"))
	return "scaleoutcancel.html", &cancelScaleoutPage{page: h.page(r, "Cancel a scale-out"), Line: line, Typed: line.Waiting >= scaleoutsTyped}, err
}

// cancelScaleout cancels the jobs of a scale-out that have not run yet, if they are no more than the page showed.
func (h *Handler) cancelScaleout(r *http.Request, by *operator) (string, error) {
	prefix := r.PostForm.Get("prefix")
	seen, err := shown(r, "expect", 0, math.MaxInt64)
	if err != nil {
		return "", err
	}
	if seen >= scaleoutsTyped && r.PostForm.Get("confirm") != prefix {
		return "", askAgain(http.StatusBadRequest, "nothing was cancelled: to confirm, type the prefix exactly as it is shown")
	}
	if _, err := h.scaleout(r.Context(), prefix); err != nil {
		return "", err
	}
	_, err = scaleout.Cancel(r.Context(), by.Operator, prefix, seen)
	if changed, ok := errors.AsType[*operate.NotAsSeenError](err); ok {
		err = askAgain(http.StatusConflict,
			"nothing was cancelled: %d jobs were shown, and %d wait now; check the number and confirm again", seen, changed.Now)
	}
	if by.auditID() > 0 {
		return "scaleouts", err
	}
	return "scaleouts?done=" + url.QueryEscape("cancelled:"+prefix), err // many audit lines: the row of the scale-out has the sum
}
