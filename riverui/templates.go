package webui

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/templates"
)

const (
	templatesShown = 50
	instancesShown = 20
)

// templateList is the section of the templates that match a search.
type templateList struct {
	listPage[templates.Row, string]

	Total int64
}

func (h *Handler) templatesPage(r *http.Request) (*view, error) {
	f, err := readFilter(r, "q", "after", "before")
	if err != nil {
		return nil, err
	}
	page := templates.Page{Search: f["q"], After: f["after"], Before: f["before"], Limit: templatesShown + 1}
	v := h.view(r, "Templates", "templates")
	add(v, "search", "", func(context.Context) reading[string] { return fresh(page.Search, nil) })
	addRead(v, h.db(), "list", "", func(ctx context.Context, tx pgx.Tx) (templateList, error) {
		rows, total, err := templates.ReadPage(ctx, tx, page)
		key := func(row templates.Row) string { return row.Key }
		return templateList{newListPage(filter{"q": page.Search}, rows, page.Limit, page.Before != "", page.After != "", key), total}, err
	})
	return v, nil
}

// templateUse is the section of a template's throughput.
type templateUse struct {
	rangedChart

	Sum history.TemplateSum
}

// templatePath returns the path of a template's page.
func templatePath(key string) string { return "/templates/" + url.PathEscape(key) }

// templateError returns the refusal that says that there is no such collection, or err.
func templateError(key string, err error) error {
	if errors.Is(err, operate.ErrNoCollection) {
		return refuse(http.StatusNotFound, "there is no template %s; the page Templates lists those that exist", printable(key))
	}
	return err
}

func (h *Handler) templatePage(r *http.Request) (*view, error) {
	key := r.PathValue("key")
	if !isText(key) {
		return nil, refuse(http.StatusBadRequest, "the key is not a text of up to %d characters", filterText)
	}
	v := h.view(r, "Template "+printable(key), "template")
	v.patience = readLimit // the template decides the status
	read := func(ctx context.Context, tx pgx.Tx) (templates.State, error) { return templates.Read(ctx, tx, key) }
	state, err := snapshot(r.Context(), h.db(), read)
	if errors.Is(err, operate.ErrNoCollection) { // the sections report other errors
		return nil, templateError(key, err)
	}
	addRead(v, h.db(), "facts", "", read)
	span := history.RangeOf(r.URL.Query().Get("range"))
	addRead(v, h.db(), "use", "Throughput", func(ctx context.Context, tx pgx.Tx) (use templateUse, err error) {
		series, err := history.Template(ctx, tx, state.ID, span.Span)
		if err != nil {
			return use, err
		}
		drawn := templateChart("use-chart", series, series.Templates[0].Points)
		return templateUse{rangedChart{drawn, history.Ranges, span.Name, templatePath(key)}, series.Templates[0]}, nil
	})
	addRead(v, h.db(), "instances", "Recent instances", func(ctx context.Context, tx pgx.Tx) ([]templates.Instance, error) {
		return templates.RecentInstances(ctx, tx, state.ID, instancesShown)
	})
	return v, nil
}

type unmarkPage struct {
	page
	Key   string
	State templates.State
}

// askUnmark shows what unmarking a template would do.
func (h *Handler) askUnmark(r *http.Request) (string, confirmPage, error) {
	key := r.PathValue("key")
	state, err := snapshot(r.Context(), h.db(), func(ctx context.Context, tx pgx.Tx) (templates.State, error) {
		return templates.Read(ctx, tx, key)
	})
	return "unmark.html", &unmarkPage{page: h.page(r, "Unmark a template"), Key: key, State: state}, templateError(key, err)
}

// markTemplate marks or unmarks a collection as a template.
func (h *Handler) markTemplate(r *http.Request, by *operator) (string, error) {
	key := r.PathValue("key")
	mark, err := either(r, "mark", "unmark", "the template")
	if err != nil {
		return "", err
	}
	_, err = by.MarkTemplate(r.Context(), key, mark)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == pgerrcode.InsufficientPrivilege {
		err = refuse(http.StatusForbidden, "the database login of this worker may not mark templates; run as the owner of iu-core: iuworker templates mark")
	}
	return templatePath(key), templateError(key, err)
}

// sendTest inserts a test event for a template, with the user as its actor, and redirects to the event's page.
func (h *Handler) sendTest(r *http.Request, by *operator) (string, error) {
	template, mode := r.PostForm.Get("template"), r.PostForm.Get("mode")
	switch {
	case template == "" || !isText(template):
		return "", refuse(http.StatusBadRequest, "choose a template")
	case mode != "dry_run" && mode != "live":
		return "", refuse(http.StatusBadRequest, "choose a dry run or a live event")
	}
	key, err := by.SendTest(r.Context(), template, mode)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == operate.SQLStateNoTemplate {
		err = refuse(http.StatusNotFound, "%s; the page Templates lists those that exist", pgErr.Message)
	}
	return eventPath(key), err
}
