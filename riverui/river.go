package webui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
)

// riverPolicy is pagePolicy, but lets River UI set styles on its elements and use data: images.
const riverPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// riverPage serves River UI's files, and its page with our bar: a link back, the database, and what its states mean.
func (h *Handler) riverPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", riverPolicy)
	if strings.HasPrefix(r.URL.Path, h.at("riverui/assets/")) {
		h.river.ServeHTTP(w, r)
		return
	}
	a := h.askRiver(r)
	if strings.HasPrefix(a.Header().Get("Content-Type"), "text/html") && a.status == http.StatusOK {
		if err := frameRiver(&a.body, h.page(r, "Jobs")); err != nil {
			h.cfg.Logger.ErrorContext(r.Context(), "Pages: cannot frame River UI", slog.String("error", err.Error()))
		}
		a.Header().Del("Content-Length")
		a.Header().Del("Last-Modified") // the frame changes with the user and the database
		a.Header().Del("Etag")
	}
	a.send(w)
}

var riverTitle = regexp.MustCompile(`<title>[^<]*</title>`)

// frameRiver puts the bar into River UI's page. A page without a head and a body stays as it is.
func frameRiver(page *bytes.Buffer, p page) error {
	var head, bar bytes.Buffer
	for name, to := range map[string]*bytes.Buffer{"river-head": &head, "river-bar": &bar} {
		if err := htmlTemplates.ExecuteTemplate(to, name, &p); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	text := page.String()
	beforeHead, afterHead, hasHead := strings.Cut(riverTitle.ReplaceAllString(text, ""), "</head>")
	beforeBody, afterBody, hasBody := strings.Cut(afterHead, "<body")
	attributes, content, hasEnd := strings.Cut(afterBody, ">")
	if !hasHead || !hasBody || !hasEnd {
		return errors.New("its page has no head and body")
	}
	page.Reset()
	for _, part := range []string{beforeHead, head.String(), "</head>", beforeBody, "<body", attributes, ">", bar.String(), content} {
		page.WriteString(part)
	}
	return nil
}

// riverBanner serves what the bar says about the database. The bar requests it while it is open.
func (h *Handler) riverBanner(w http.ResponseWriter, r *http.Request) {
	p := h.page(r, "Jobs")
	h.render(w, r, http.StatusOK, "river-banner", &p)
}

// riverRead lets River UI read. River UI responds with 400 if the database is away, and with 500 if a session was cut off: the
// first becomes a sentence of ours, and the second is retried.
func (h *Handler) riverRead(w http.ResponseWriter, r *http.Request) {
	first := h.askRiver(r)
	if first.status != http.StatusBadRequest && first.status < http.StatusInternalServerError {
		first.send(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := h.cfg.Pool.Ping(ctx); err != nil {
		h.fail(w, r, err)
		return
	}
	h.askRiver(r).send(w)
}

// askRiver returns River UI's response. The first one starts its counts of jobs, which it reads every 10 s from then on.
func (h *Handler) askRiver(r *http.Request) *response {
	var a response
	if err := h.startRiver(); err != nil {
		h.cfg.Logger.WarnContext(r.Context(), "Pages: cannot start River UI's counts of jobs", slog.String("error", err.Error()))
	}
	h.river.ServeHTTP(&a, r)
	return &a
}
