package webui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

// rollbackLimit bounds a rollback and its dry run: a million instances take minutes.
const rollbackLimit = 10 * time.Minute

type rollbackPage struct {
	page
	Actor    string
	Known    []string // actors of recent instances
	Checked  bool     // Report and Reach are there
	Report   operate.RollbackReport
	Reach    operate.Reach
	Problem  string // why it was not executed
	MaxActor int
}

const maxActor = 200 // characters

func (h *Handler) rollbackPage(w http.ResponseWriter, r *http.Request) {
	h.showRollback(w, r, http.StatusOK, r.URL.Query().Get("actor"), "")
}

// showRollback shows the dry run of an actor's rollback, or asks whose; problem says why it was not executed.
func (h *Handler) showRollback(w http.ResponseWriter, r *http.Request, status int, actor, problem string) {
	p := &rollbackPage{page: h.page(r, "Rollback"), Actor: actor, Problem: problem, MaxActor: maxActor, Known: h.knownActors(r.Context())}
	p.Done = h.done(r)
	if actor != "" {
		if bad := badActor(actor); bad != "" {
			h.say(w, r, http.StatusBadRequest, "%s", bad)
			return
		}
		ctx, cancel := h.longer(w, r)
		defer cancel()
		preview, err := operate.PreviewRollback(ctx, h.cfg.Pool, actor)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		p.Report, p.Reach, p.Checked = preview.RollbackReport, preview.Reach, true
	}
	h.render(w, r, status, "rollback.html", p)
}

// badActor returns what is wrong with an actor's name; "" if nothing is.
func badActor(actor string) string {
	switch {
	case strings.TrimSpace(actor) == "":
		return "enter an actor: it must not be blank"
	case utf8.RuneCountInString(actor) > maxActor:
		return fmt.Sprintf("an actor's name has at most %d characters", maxActor)
	case !utf8.ValidString(actor), strings.ContainsRune(actor, 0):
		return "the actor's name is not valid text"
	default:
		return ""
	}
}

// knownActors are offered where an actor is asked for; without them the page is as useful.
func (h *Handler) knownActors(ctx context.Context) []string {
	var actors []string
	err := h.db().read(ctx, func(tx pgx.Tx) (err error) {
		actors, err = operate.RecentActors(ctx, tx, 50)
		return err
	})
	if err != nil {
		h.cfg.Logger.DebugContext(ctx, "Pages: cannot list recent actors", slog.String("error", dberror.Redact(err.Error())))
	}
	return actors
}

type cancelActorPage struct {
	page

	Actor   string
	Count   int
	Problem string // why nothing was cancelled
}

// askCancelActor says what cancelling does that is still to come of an actor, and asks for a confirmation.
func (h *Handler) askCancelActor(w http.ResponseWriter, r *http.Request) {
	h.showCancelActor(w, r, http.StatusOK, r.URL.Query().Get("actor"), "")
}

func (h *Handler) showCancelActor(w http.ResponseWriter, r *http.Request, status int, actor, problem string) {
	if bad := badActor(actor); bad != "" {
		h.say(w, r, http.StatusBadRequest, "%s", bad)
		return
	}
	ctx, cancel := h.longer(w, r)
	defer cancel()
	n, err := operate.CountToCome(ctx, h.cfg.Pool, actor)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.render(w, r, status, "cancelactor.html", &cancelActorPage{page: h.page(r, "Cancel what is still to come"), Actor: actor, Count: int(n), Problem: problem})
}

// cancelActor cancels the jobs of an actor that have not run yet, if they are no more than the page showed.
func (h *Handler) cancelActor(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	actor := r.PostForm.Get("actor")
	seen, err := strconv.ParseInt(r.PostForm.Get("expect"), 10, 64)
	if err != nil {
		h.say(w, r, http.StatusBadRequest, "the number of jobs that was shown is missing")
		return
	}
	if bad := badActor(actor); bad != "" {
		h.say(w, r, http.StatusBadRequest, "%s", bad)
		return
	}
	ctx, cancel := h.longer(w, r)
	defer cancel()
	by := h.operator(r)
	_, err = by.CancelActor(ctx, actor, seen)
	if changed, ok := errors.AsType[*operate.NotAsSeenError](err); ok {
		h.showCancelActor(w, r, http.StatusConflict, actor, fmt.Sprintf(
			"nothing was cancelled: %d jobs were shown, and there are %d now; check the number and confirm again", seen, changed.Now))
		return
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.back(w, r, "rollback?actor="+url.QueryEscape(actor), by.auditID())
}

// rollback executes a rollback that was confirmed by the actor's name, if it deletes what the dry run had shown.
func (h *Handler) rollback(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	actor := r.PostForm.Get("actor")
	seen, err := strconv.ParseInt(r.PostForm.Get("instances"), 10, 64)
	if bad := badActor(actor); bad != "" || err != nil {
		if bad == "" {
			bad = "check the dry run first: the number of instances that it showed is missing"
		}
		h.say(w, r, http.StatusBadRequest, "%s", bad)
		return
	}
	if r.PostForm.Get("confirm") != actor {
		h.showRollback(w, r, http.StatusBadRequest, actor, "nothing was deleted: to confirm, type the actor's name exactly as it is above")
		return
	}
	ctx, cancel := h.longer(w, r)
	defer cancel()
	by := h.operator(r)
	done, err := by.Rollback(ctx, actor, seen)
	changed, isOther := errors.AsType[*operate.NotAsSeenError](err)
	switch {
	case isOther && changed.Now > 0:
		h.showRollback(w, r, http.StatusConflict, actor, fmt.Sprintf(
			"nothing was deleted: the dry run showed %d instances, and there are %d now; check the number and confirm again", seen, changed.Now))
	case err != nil && !isOther:
		h.fail(w, r, err)
	case by.auditID() == 0:
		h.showRollback(w, r, http.StatusConflict, actor, "nothing was deleted: "+notRolledBack(done.RollbackReport))
	default:
		h.back(w, r, "rollback?actor="+url.QueryEscape(actor), by.auditID())
	}
}

func notRolledBack(report operate.RollbackReport) string {
	switch {
	case report.Status == operate.RollbackBlocked:
		return "instances are used elsewhere, as listed below"
	case report.Counts.EventLog == 0:
		return "this actor has no instances"
	default:
		return report.Status + " " + report.Detail
	}
}

// longer gives a request as much time as a rollback takes.
func (h *Handler) longer(w http.ResponseWriter, r *http.Request) (context.Context, context.CancelFunc) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(rollbackLimit + writeTimeout)) // fails if there is none
	return context.WithTimeout(r.Context(), rollbackLimit)
}
