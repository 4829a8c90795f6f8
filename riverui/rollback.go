package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/worker/operate"
)

// rollbackLimit bounds a rollback and its dry run: a million instances take minutes.
const rollbackLimit = 10 * time.Minute

type rollbackPage struct {
	page
	Actor    string
	Known    []string // actors of recent instances
	Looked   bool     // Report and Reach are there
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
		h.takeLonger(w)
		ctx, cancel := context.WithTimeout(r.Context(), rollbackLimit)
		defer cancel()
		preview, err := operate.PreviewRollback(ctx, h.cfg.Pool, actor)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		p.Report, p.Reach, p.Looked = preview.RollbackReport, preview.Reach, true
	}
	h.render(w, r, status, "rollback.html", p)
}

// badActor answers what is wrong with an actor's name; "" where nothing is.
func badActor(actor string) string {
	switch {
	case strings.TrimSpace(actor) == "":
		return "say whose instances: the actor must not be blank"
	case utf8.RuneCountInString(actor) > maxActor:
		return fmt.Sprintf("no actor has a name of over %d characters", maxActor)
	case !utf8.ValidString(actor), strings.ContainsRune(actor, 0):
		return "the actor's name is no text"
	default:
		return ""
	}
}

func (h *Handler) knownActors(ctx context.Context) []string {
	var actors []string
	for _, instance := range h.sources.instances.get(ctx).Value {
		actors = append(actors, instance.Actor)
	}
	slices.Sort(actors)
	return slices.Compact(actors)
}

// rollback executes a rollback that was confirmed by the actor's name, where it deletes what the dry run had shown.
func (h *Handler) rollback(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	actor := r.PostForm.Get("actor")
	seen, err := strconv.ParseInt(r.PostForm.Get("instances"), 10, 64)
	if bad := badActor(actor); bad != "" || err != nil {
		if bad == "" {
			bad = "look at the dry run first: the number of instances that it showed is missing"
		}
		h.say(w, r, http.StatusBadRequest, "%s", bad)
		return
	}
	if r.PostForm.Get("confirm") != actor {
		h.showRollback(w, r, http.StatusBadRequest, actor, "nothing was deleted: to confirm, type the actor's name exactly as it is above")
		return
	}
	h.takeLonger(w)
	var done operate.RollbackPreview
	id, err := h.change(r, "rollback", func(ctx context.Context, tx pgx.Tx) (_ detail, err error) {
		ctx, cancel := context.WithTimeout(ctx, rollbackLimit)
		defer cancel()
		done, err = operate.RollbackAsSeen(ctx, tx, actor, &seen)
		if err != nil || done.Status != operate.RollbackRolledBack || done.Counts.EventLog == 0 {
			return nil, err
		}
		return done.AuditDetail(), nil
	})
	switch {
	case errors.Is(err, operate.ErrNotAsSeen) && done.Counts.EventLog > 0:
		h.showRollback(w, r, http.StatusConflict, actor, fmt.Sprintf(
			"nothing was deleted: the dry run had shown %d instances, and there are %d now; look again and confirm", seen, done.Counts.EventLog))
	case err != nil && !errors.Is(err, operate.ErrNotAsSeen):
		h.fail(w, r, err)
	case id == 0:
		h.showRollback(w, r, http.StatusConflict, actor, "nothing was deleted: "+notRolledBack(done.RollbackReport))
	default:
		h.back(w, r, "rollback", id)
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

// takeLonger lets an answer take as long as a rollback.
func (h *Handler) takeLonger(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(rollbackLimit + writeTimeout)) // fails where there is none
}
