package webui

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

type rollbackPage struct {
	page
	Actor    string
	Known    []string // actors of recent instances
	Checked  bool     // Report and Reach are there
	Report   operate.RollbackReport
	Reach    operate.Reach
	MaxActor int
}

const maxActor = 200 // characters

// askRollback asks for an actor, and shows the dry run of that actor's rollback.
func (h *Handler) askRollback(r *http.Request) (string, confirmPage, error) {
	p := &rollbackPage{page: h.page(r, "Rollback"), MaxActor: maxActor, Known: h.knownActors(r.Context())}
	p.Done = h.done(r)
	if p.Actor = values(r).Get("actor"); p.Actor == "" {
		return "rollback.html", p, nil
	}
	if _, err := readActor(r); err != nil {
		return "", nil, err
	}
	preview, err := operate.PreviewRollback(r.Context(), h.cfg.Pool, p.Actor)
	p.Report, p.Reach, p.Checked = preview.RollbackReport, preview.Reach, true
	return "rollback.html", p, err
}

// readActor returns the actor that a request names.
func readActor(r *http.Request) (string, error) {
	actor := values(r).Get("actor")
	switch {
	case strings.TrimSpace(actor) == "":
		return "", refuse(http.StatusBadRequest, "enter an actor: it must not be blank")
	case utf8.RuneCountInString(actor) > maxActor:
		return "", refuse(http.StatusBadRequest, "an actor's name has at most %d characters", maxActor)
	case !isText(actor):
		return "", refuse(http.StatusBadRequest, "the actor's name is not valid text")
	default:
		return actor, nil
	}
}

// knownActors returns the actors that the form suggests. The page works without them.
func (h *Handler) knownActors(ctx context.Context) []string {
	actors, err := snapshot(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) ([]string, error) {
		return operate.RecentActors(ctx, tx, 50)
	})
	if err != nil {
		h.cfg.Logger.DebugContext(ctx, "Pages: cannot list recent actors", slog.String("error", dberror.Redact(err.Error())))
	}
	return actors
}

// rollbackPath returns the path of an actor's dry run.
func rollbackPath(actor string) string { return "rollback?actor=" + url.QueryEscape(actor) }

type cancelActorPage struct {
	page
	Actor string
	Count int
}

// askCancelActor shows what cancelling an actor's events that are still to come does.
func (h *Handler) askCancelActor(r *http.Request) (string, confirmPage, error) {
	actor, err := readActor(r)
	if err != nil {
		return "", nil, err
	}
	n, err := operate.CountToCome(r.Context(), h.cfg.Pool, actor)
	return "cancelactor.html", &cancelActorPage{page: h.page(r, "Cancel what is still to come"), Actor: actor, Count: int(n)}, err
}

// cancelActor cancels the jobs of an actor that have not run yet, if they are no more than the page showed.
func (h *Handler) cancelActor(r *http.Request, by *operator) (string, error) {
	actor, err := readActor(r)
	if err != nil {
		return "", err
	}
	seen, err := shown(r, "expect", 0, math.MaxInt64)
	if err != nil {
		return "", err
	}
	_, err = by.CancelActor(r.Context(), actor, seen)
	if changed, ok := errors.AsType[*operate.NotAsSeenError](err); ok {
		err = askAgain(http.StatusConflict,
			"nothing was cancelled: %d jobs were shown, and there are %d now; check the number and confirm again", seen, changed.Now)
	}
	return rollbackPath(actor), err
}

// rollback executes a rollback that was confirmed by the actor's name, if it deletes what the dry run had shown.
func (h *Handler) rollback(r *http.Request, by *operator) (string, error) {
	actor, err := readActor(r)
	if err != nil {
		return "", err
	}
	seen, err := shown(r, "instances", 0, math.MaxInt64)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "check the dry run first: the number of instances that it showed is missing")
	}
	if r.PostForm.Get("confirm") != actor {
		return "", askAgain(http.StatusBadRequest, "nothing was deleted: to confirm, type the actor's name exactly as it is above")
	}
	done, err := by.Rollback(r.Context(), actor, seen)
	changed, isOther := errors.AsType[*operate.NotAsSeenError](err)
	switch {
	case isOther && changed.Now > 0:
		err = askAgain(http.StatusConflict,
			"nothing was deleted: the dry run showed %d instances, and there are %d now; check the number and confirm again", seen, changed.Now)
	case err != nil && !isOther:
		return "", err
	case by.auditID() == 0:
		err = askAgain(http.StatusConflict, "nothing was deleted: %s", notRolledBack(done.RollbackReport))
	}
	return rollbackPath(actor), err
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
