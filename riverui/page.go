package webui

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.ParseFS(templateFiles, "templates/*.html"))

// page is what all pages have.
type page struct {
	Base, Title, Version string
	User                 string // "" where nobody has to sign in
	Operator             bool   // may make changes
}

func (h *Handler) page(r *http.Request, title string) page {
	by := who(r.Context())
	p := page{Base: h.cfg.BasePath, Title: title, Version: h.cfg.Version, Operator: by.role == RoleOperator}
	if h.guarded() {
		p.User = by.name
	}
	return p
}

// render writes a page whole, or nothing of it.
func (h *Handler) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, data); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "Pages: cannot write a page", slog.String("page", name), slog.String("error", err.Error()))
		http.Error(w, "this page cannot be shown; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // whoever asked is gone where this fails
}

type homePage struct {
	page
	Reason          string
	Metrics, Events bool
}

func (h *Handler) home(w http.ResponseWriter, r *http.Request) {
	page := homePage{page: h.page(r, "Overview"), Metrics: h.cfg.Metrics != nil, Events: h.cfg.Events != nil}
	if err := h.cfg.Ready(r.Context()); err != nil {
		page.Reason = readyReason(err)
	}
	h.render(w, r, http.StatusOK, "home.html", &page)
}
