package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/operate"
)

const (
	templatesShown = 50
	instancesShown = 20
)

// templateList is the section of the templates that match a search.
type templateList struct {
	Rows         []operate.TemplateRow
	Total        int64
	Search       string
	Newer, Older string // the query of the page before, and of the one after; "" if there is none
}

func (h *Handler) templatesPage(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	page := operate.TemplatePage{Search: query.Get("q"), After: query.Get("after"), Before: query.Get("before"), Limit: templatesShown + 1}
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

func isText(text string) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= 1000 && !strings.ContainsRune(text, 0)
}

func readTemplates(ctx context.Context, tx pgx.Tx, page operate.TemplatePage) (list templateList, err error) {
	list.Search = page.Search
	if list.Rows, list.Total, err = operate.ListTemplates(ctx, tx, page); err != nil {
		return list, err
	}
	more := len(list.Rows) == page.Limit
	backwards := page.Before != ""
	switch {
	case more && backwards:
		list.Rows = list.Rows[1:]
	case more:
		list.Rows = list.Rows[:len(list.Rows)-1]
	}
	if len(list.Rows) == 0 {
		return list, nil
	}
	link := func(name, key string) string {
		query := url.Values{name: {key}}
		if page.Search != "" {
			query.Set("q", page.Search)
		}
		return "?" + query.Encode()
	}
	if backwards && more || !backwards && page.After != "" {
		list.Newer = link("before", list.Rows[0].Key)
	}
	if backwards || more {
		list.Older = link("after", list.Rows[len(list.Rows)-1].Key)
	}
	return list, nil
}

// templateUse is the section of a template's throughput.
type templateUse struct {
	Ranges []operate.Range
	Name   string // of the one that is shown
	Path   string
	Sum    operate.TemplateSum
	Chart  chart
}

// templateChart draws how many events of a template were composed, or became dead letters.
func templateChart(id string, s operate.TemplateSeries, points []int64) chart {
	series := operate.Series{From: s.From, Until: s.Until, Step: s.Step, Points: make([]operate.Point, len(points))}
	totals := make([]float64, len(points))
	a := axis{s.From, s.Step, len(points)}
	c := chart{
		ID: id, Title: "Events per " + a.stepName(), Unit: "events per " + a.stepName(), XTicks: clockTicks(a), Heads: []string{"Events"},
	}
	sum := int64(0)
	for i, n := range points {
		series.Points[i] = operate.Point{At: s.From.Add(time.Duration(i) * s.Step), Composed: n, Known: true}
		totals[i] = float64(n)
		sum += n
		c.Rows = append(c.Rows, chartRow{At: series.Points[i].At, Cells: []string{number(n)}})
	}
	c.bars(a, series, totals)
	c.Summary = fmt.Sprintf("Bars of events per %s since %s: %s", a.stepName(), moment(s.From), number(sum))
	return c
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
	read := func(ctx context.Context) (state operate.TemplateState, err error) {
		err = h.db().read(ctx, func(tx pgx.Tx) (err error) {
			state, err = operate.ReadTemplate(ctx, tx, key)
			return err
		})
		return state, err
	}
	state, err := read(r.Context())
	if errors.Is(err, operate.ErrNoCollection) {
		h.say(w, r, http.StatusNotFound, "there is no template %s; the page Templates lists those that exist", printable(key))
		return
	}
	add(v, "facts", "", func(ctx context.Context) reading[operate.TemplateState] { return fresh(read(ctx)) })
	add(v, "use", "Throughput", func(ctx context.Context) reading[templateUse] {
		return h.templateUse(ctx, state.ID, r.URL.Query().Get("range"), "templates/"+url.PathEscape(key))
	})
	add(v, "instances", "Recent instances", func(ctx context.Context) reading[[]operate.TemplateInstance] {
		return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) ([]operate.TemplateInstance, error) {
			return operate.RecentOf(ctx, tx, state.ID, instancesShown)
		})
	})
	h.serve(w, r, v)
}

func (h *Handler) templateUse(ctx context.Context, template uuid.UUID, name, path string) reading[templateUse] {
	chosen := operate.RangeOf(name)
	return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (use templateUse, err error) {
		series, err := operate.TemplateHistoryOf(ctx, tx, template, chosen.Span)
		if err != nil {
			return use, err
		}
		use = templateUse{
			Ranges: operate.Ranges, Name: chosen.Name, Path: path, Sum: series.Templates[0],
			Chart: templateChart("use-chart", series, series.Templates[0].Points),
		}
		return use, nil
	})
}

type markPage struct {
	page

	Key   string
	Path  string
	State operate.TemplateState
}

// askUnmark says what happens if a template is no longer one.
func (h *Handler) askUnmark(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	p := &markPage{page: h.page(r, "Unmark a template"), Key: key, Path: "templates/" + url.PathEscape(key)}
	err := h.db().read(r.Context(), func(tx pgx.Tx) (err error) {
		p.State, err = operate.ReadTemplate(r.Context(), tx, key)
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

// markTemplate marks a collection as a template, or no longer as one.
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
