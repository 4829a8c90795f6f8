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

// render writes a page whole, or nothing of it.
func (h *Handler) render(w http.ResponseWriter, r *http.Request, name string, data any) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, data); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "Pages: cannot write a page", slog.String("page", name), slog.String("error", err.Error()))
		say(w, http.StatusInternalServerError, "this page cannot be shown; the log says why")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = page.WriteTo(w) // whoever asked is gone where this fails
}

type homePage struct {
	Base, Version, Reason string
	Metrics, Events       bool
}

func (h *Handler) home(w http.ResponseWriter, r *http.Request) {
	page := homePage{Base: h.cfg.BasePath, Version: h.cfg.Version, Metrics: h.cfg.Metrics != nil, Events: h.cfg.Events != nil}
	if err := h.cfg.Ready(r.Context()); err != nil {
		page.Reason = readyReason(err)
	}
	h.render(w, r, "home.html", page)
}
