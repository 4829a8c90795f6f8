package webui

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/google/uuid"
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

	Total  int64
	Search string
}

// Query returns the query of the page before or after a key.
func (l templateList) Query(name, key string) string {
	fields := map[string]string{}
	if l.Search != "" {
		fields["q"] = l.Search
	}
	return queryOf(fields, name, key)
}

func (h *Handler) templatesPage(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	page := templates.Page{Search: query.Get("q"), After: query.Get("after"), Before: query.Get("before"), Limit: templatesShown + 1}
	for _, text := range []string{page.Search, page.After, page.Before} {
		if !isText(text) {
			h.say(w, r, http.StatusBadRequest, "the search is not a text of up to 1000 characters")
			return
		}
	}
	v := h.view(r, "Templates", "templates")
	v.Done = h.done(r)
	add(v, "search", "", func(context.Context) reading[string] { return fresh(page.Search, nil) })
	add(v, "list", "", func(ctx context.Context) reading[templateList] {
		return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (templateList, error) { return readTemplates(ctx, tx, page) })
	})
	h.serve(w, r, v)
}

func readTemplates(ctx context.Context, tx pgx.Tx, page templates.Page) (templateList, error) {
	rows, total, err := templates.ReadPage(ctx, tx, page)
	key := func(row templates.Row) string { return row.Key }
	return templateList{newListPage(rows, page.Limit, page.Before != "", page.After != "", key), total, page.Search}, err
}

// templateUse is the section of a template's throughput.
type templateUse struct {
	Ranges []history.Range
	Name   string // of the one that is shown
	Path   string
	Sum    history.TemplateSum
	Chart  chart
}

func (h *Handler) templatePage(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	if !isText(key) {
		h.say(w, r, http.StatusBadRequest, "the key is not a text of up to 1000 characters")
		return
	}
	v := h.view(r, "Template "+printable(key), "template")
	v.Done = h.done(r)
	v.patience = readLimit // the template decides the status
	read := func(ctx context.Context) (templates.State, error) {
		return snapshot(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (templates.State, error) {
			return templates.Read(ctx, tx, key)
		})
	}
	state, err := read(r.Context())
	if errors.Is(err, operate.ErrNoCollection) {
		h.say(w, r, http.StatusNotFound, "there is no template %s; the page Templates lists those that exist", printable(key))
		return
	}
	add(v, "facts", "", func(ctx context.Context) reading[templates.State] { return fresh(read(ctx)) })
	add(v, "use", "Throughput", func(ctx context.Context) reading[templateUse] {
		return h.templateUse(ctx, state.ID, r.URL.Query().Get("range"), "templates/"+url.PathEscape(key))
	})
	add(v, "instances", "Recent instances", func(ctx context.Context) reading[[]templates.Instance] {
		return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) ([]templates.Instance, error) {
			return templates.RecentInstances(ctx, tx, state.ID, instancesShown)
		})
	})
	h.serve(w, r, v)
}

func (h *Handler) templateUse(ctx context.Context, template uuid.UUID, name, path string) reading[templateUse] {
	chosen := history.RangeOf(name)
	return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (use templateUse, err error) {
		series, err := history.Template(ctx, tx, template, chosen.Span)
		if err != nil {
			return use, err
		}
		use = templateUse{
			Ranges: history.Ranges, Name: chosen.Name, Path: path, Sum: series.Templates[0],
			Chart: templateChart("use-chart", series, series.Templates[0].Points),
		}
		return use, nil
	})
}

type markPage struct {
	page

	Key   string
	Path  string
	State templates.State
}

// askUnmark asks before a collection is unmarked, and says what happens then.
func (h *Handler) askUnmark(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	p := &markPage{page: h.page(r, "Unmark a template"), Key: key, Path: "templates/" + url.PathEscape(key)}
	err := h.db().read(r.Context(), func(tx pgx.Tx) (err error) {
		p.State, err = templates.Read(r.Context(), tx, key)
		return err
	})
	switch {
	case errors.Is(err, operate.ErrNoCollection):
		h.say(w, r, http.StatusNotFound, "there is no template %s", printable(key))
	case err != nil:
		h.fail(w, r, err)
	default:
		h.render(w, r, http.StatusOK, "unmark.html", p)
	}
}

// markTemplate marks or unmarks a collection as a template.
func (h *Handler) markTemplate(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	key, to := r.PathValue("key"), r.PostForm.Get("to")
	if to != "mark" && to != "unmark" {
		h.say(w, r, http.StatusBadRequest, "say whether to mark or to unmark the template")
		return
	}
	by := h.operator(r)
	_, err := by.MarkTemplate(r.Context(), key, to == "mark")
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, operate.ErrNoCollection):
		h.say(w, r, http.StatusNotFound, "there is no collection %s", printable(key))
	case pgErr != nil && pgErr.Code == pgerrcode.InsufficientPrivilege:
		h.say(w, r, http.StatusForbidden, "the database login of this worker may not mark templates; run as the owner of iu-core: iuworker templates mark")
	case err != nil:
		h.fail(w, r, err)
	default:
		h.back(w, r, "templates/"+url.PathEscape(key), by.auditID())
	}
}

// sendTest inserts a test event for a template, with the user as its actor, and redirects to the event's page.
func (h *Handler) sendTest(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	template, mode := r.PostForm.Get("template"), r.PostForm.Get("mode")
	switch {
	case template == "" || !isText(template):
		h.say(w, r, http.StatusBadRequest, "choose a template")
		return
	case mode != "dry_run" && mode != "live":
		h.say(w, r, http.StatusBadRequest, "choose a dry run or a live event")
		return
	}
	by := h.operator(r)
	key, err := by.SendTest(r.Context(), template, mode)
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case pgErr != nil && pgErr.Code == operate.SQLStateNoTemplate:
		h.say(w, r, http.StatusNotFound, "%s; the page Templates lists those that exist", pgErr.Message)
	case err != nil:
		h.fail(w, r, err)
	default:
		h.back(w, r, "events/"+key, by.auditID())
	}
}
