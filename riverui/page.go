package webui

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

//go:embed templates
var templateFiles embed.FS

var htmlTemplates = template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/*.html"))

// page has the data that all pages share.
type page struct {
	Base, Title, Version string
	User                 string // "" if no sign-in is required
	Operator             bool   // may make changes
	Done                 string // what was just done
	Problem              string // why a change was not made
	Metrics, Events      bool   // are served

	Environment string // such as PROD; "" if it has no name
	Database    string // shop@db-1
	Live        string // where updates come from; "" if the page does not change while it is open
	Nav         []navItem
	Attention   int64         // how many things need the operator, for the title
	Lost        *lostDatabase // nil if the database can be reached
}

func (h *Handler) page(r *http.Request, title string) page {
	by := who(r.Context())
	p := page{
		Base: h.cfg.BasePath, Title: title, Version: h.cfg.Version, Operator: by.role == RoleOperator,
		Metrics: h.cfg.Metrics != nil, Events: h.cfg.Events != nil,
		Environment: h.cfg.Environment, Database: databaseOf(h.cfg.Pool), Nav: h.nav(h.pathOf(r)), Lost: h.outage.check(r.Context()),
	}
	for _, item := range p.Nav {
		if n, err := strconv.ParseInt(item.Count, 10, 64); err == nil && item.Path == "/health" {
			p.Attention = n
		}
	}
	if h.guarded() {
		p.User = by.name
	}
	return p
}

// render writes a whole page, or an error.
func (h *Handler) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var page bytes.Buffer
	if err := htmlTemplates.ExecuteTemplate(&page, name, data); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "Pages: cannot write a page", slog.String("page", name), slog.String("error", err.Error()))
		http.Error(w, "this page cannot be shown; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // if this fails, the client has disconnected
}

// back redirects to one of our pages after a change; the page shows the audit line. path may have a query.
func (h *Handler) back(w http.ResponseWriter, r *http.Request, path string, auditID int64) {
	to := h.at(path)
	if auditID > 0 {
		separator := "?"
		if strings.Contains(to, "?") {
			separator = "&"
		}
		to += separator + "done=" + strconv.FormatInt(auditID, 10)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// db returns the pool for reading.
func (h *Handler) db() limited { return limited{h.cfg.Pool} }
