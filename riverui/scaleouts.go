package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/jobs"
)

const (
	scaleoutsShown = 100
	scaleoutsTyped = 1000 // jobs from which on a cancel is confirmed by typing the prefix
)

// readScaleouts reads the scale-outs, and how fast they are now.
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

func (h *Handler) scaleoutsPage(w http.ResponseWriter, r *http.Request) {
	v := h.view(r, "Scale-outs", "scaleouts")
	v.Done = h.scaleoutDone(r)
	add(v, "notes", "", func(ctx context.Context) reading[scaleoutNotes] {
		return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (notes scaleoutNotes, err error) {
			if notes.Paused, err = scaleout.Paused(ctx, tx); err != nil {
				return notes, err
			}
			state := h.sources.state.get(ctx)
			notes.Idle = true
			for _, worker := range state.Value.Workers {
				notes.Idle = notes.Idle && !worker.Alive
			}
			for _, gate := range state.Value.Gates {
				if !gate.Open {
					notes.Closed = append(notes.Closed, gate)
				}
			}
			return notes, state.Err
		})
	})
	add(v, "list", "", func(ctx context.Context) reading[[]scaleout.Line] { return fresh(h.readScaleouts(ctx)) })
	h.serve(w, r, v)
}

// scaleoutDone returns what was just done. A cancelled scale-out has many audit lines: its own row says how many jobs.
func (h *Handler) scaleoutDone(r *http.Request) string {
	prefix, cancelled := strings.CutPrefix(r.URL.Query().Get("done"), "cancelled:")
	if !cancelled {
		return h.done(r)
	}
	line, err := h.scaleout(r.Context(), prefix)
	if err != nil || line.Cancelled == 0 {
		return ""
	}
	return fmt.Sprintf("%s of the scale-out %s cancelled", operate.Count{N: line.Cancelled}.Of("job", "jobs"), line.Prefix)
}

var errNoSuchScaleout = errors.New("there is no such scale-out")

// scaleout reads one scale-out.
func (h *Handler) scaleout(ctx context.Context, prefix string) (scaleout.Line, error) {
	lines, err := h.readScaleouts(ctx)
	if err != nil {
		return scaleout.Line{}, err
	}
	for _, line := range lines {
		if line.Prefix == prefix {
			return line, nil
		}
	}
	return scaleout.Line{}, errNoSuchScaleout
}

// pauseScaleouts pauses the queue of all scale-outs, or resumes it.
func (h *Handler) pauseScaleouts(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	to := r.PostForm.Get("to")
	if to != "pause" && to != "resume" {
		h.say(w, r, http.StatusBadRequest, "say whether to pause or to resume the scale-outs")
		return
	}
	h.pauseQueue(w, r, jobs.QueueScaleout, to == "pause", "scaleouts")
}

type cancelScaleoutPage struct {
	page

	Line    scaleout.Line
	Typed   bool   // the prefix has to be typed
	Problem string // why nothing was cancelled
}

// askCancelScaleout says what a cancel does, and asks for a confirmation.
func (h *Handler) askCancelScaleout(w http.ResponseWriter, r *http.Request) {
	h.showCancelScaleout(w, r, http.StatusOK, r.URL.Query().Get("prefix"), "")
}

func (h *Handler) showCancelScaleout(w http.ResponseWriter, r *http.Request, status int, prefix, problem string) {
	line, ok := h.findScaleout(w, r, prefix)
	if !ok {
		return
	}
	h.render(w, r, status, "scaleoutcancel.html", &cancelScaleoutPage{
		page: h.page(r, "Cancel a scale-out"), Line: line, Typed: line.Waiting >= scaleoutsTyped, Problem: problem,
	})
}

// findScaleout reads a scale-out; false if it said why not.
func (h *Handler) findScaleout(w http.ResponseWriter, r *http.Request, prefix string) (scaleout.Line, bool) {
	line, err := h.scaleout(r.Context(), prefix)
	switch {
	case errors.Is(err, errNoSuchScaleout):
		h.say(w, r, http.StatusNotFound, "there is no scale-out %s among the latest %d", printable(prefix), scaleoutsShown)
	case err != nil:
		h.fail(w, r, err)
	default:
		return line, true
	}
	return line, false
}

// cancelScaleout cancels the jobs of a scale-out that have not run yet, if they are no more than the page showed.
func (h *Handler) cancelScaleout(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	prefix := r.PostForm.Get("prefix")
	seen, err := strconv.ParseInt(r.PostForm.Get("expect"), 10, 64)
	if err != nil {
		h.say(w, r, http.StatusBadRequest, "the number of jobs that was shown is missing")
		return
	}
	if seen >= scaleoutsTyped && r.PostForm.Get("confirm") != prefix {
		h.showCancelScaleout(w, r, http.StatusBadRequest, prefix, "nothing was cancelled: to confirm, type the prefix exactly as it is shown")
		return
	}
	if _, ok := h.findScaleout(w, r, prefix); !ok {
		return
	}
	ctx, cancel := h.longer(w, r)
	defer cancel()
	_, err = scaleout.Cancel(ctx, h.operator(r).Operator, prefix, seen)
	if changed, ok := errors.AsType[*operate.NotAsSeenError](err); ok {
		h.showCancelScaleout(w, r, http.StatusConflict, prefix, fmt.Sprintf(
			"nothing was cancelled: %d jobs were shown, and %d wait now; check the number and confirm again", seen, changed.Now))
		return
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	http.Redirect(w, r, h.at("scaleouts?done="+url.QueryEscape("cancelled:"+prefix)), http.StatusSeeOther)
}
