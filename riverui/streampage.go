package webui

import (
	"context"
	"net/http"
	"net/url"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate/templates"
)

// streamView has what the live event viewer starts with.
type streamView struct {
	URL                  string // of the events, with the filter and where to begin
	Template, Actor      string
	From, After          string
	Served               bool // this process serves the events
	Scheme, Host, Prefix string
	Templates            []string // keys that are offered
	LiveOpen             bool     // both gates are open
}

// streamPage shows the events as they are announced. Its script follows them as any other client does.
func (h *Handler) streamPage(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	view := streamView{
		Template: query.Get("template"), Actor: query.Get("actor"), From: query.Get("from"), After: query.Get("after"), Served: h.cfg.Events != nil,
		Host: r.Host, Scheme: "http", Prefix: h.cfg.BasePath,
	}
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		view.Scheme = "https"
	}
	for _, text := range []string{view.Template, view.Actor, view.After} {
		if !isText(text) {
			h.say(w, r, http.StatusBadRequest, "the filter is not a text of up to 1000 characters")
			return
		}
	}
	if view.From != "" && view.From != "now" && view.From != "beginning" && view.From != "after" {
		h.say(w, r, http.StatusBadRequest, "from is %q: it must be now, beginning or after", printable(view.From))
		return
	}
	view.URL = h.at(eventsPath) + view.query()
	v := h.view(r, "Stream", "stream")
	v.Live = "" // the script of the viewer keeps the page up to date
	add(v, "viewer", "", func(ctx context.Context) reading[streamView] {
		filled := view
		state := h.sources.state.get(ctx)
		filled.LiveOpen = len(state.Value.Gates) > 0
		for _, gate := range state.Value.Gates {
			filled.LiveOpen = filled.LiveOpen && gate.Open
		}
		// Without the keys, the form still takes one.
		_ = h.db().read(ctx, func(tx pgx.Tx) (err error) {
			filled.Templates, err = templates.Keys(ctx, tx, "", templatesShown)
			return err
		})
		return fresh(filled, nil)
	})
	h.serve(w, r, v)
}

func (v streamView) query() string {
	query := url.Values{}
	if v.Template != "" {
		query.Set("template", v.Template)
	}
	if v.Actor != "" {
		query.Set("actor", v.Actor)
	}
	switch {
	case v.From == "after" && v.After != "":
		query.Set("after", v.After)
	case v.From == "beginning":
		query.Set("from", v.From)
	}
	if len(query) == 0 {
		return ""
	}
	return "?" + query.Encode()
}

// Only returns the template that the form begins with: the only one, or that of the filter.
func (v streamView) Only() string {
	if len(v.Templates) == 1 {
		return v.Templates[0]
	}
	return v.Template
}

// Curl returns the command that follows the same events.
func (v streamView) Curl() string {
	return "curl --no-buffer '" + v.Scheme + "://" + v.Host + v.Prefix + "/" + eventsPath + v.query() + "'"
}

// Subscribe returns the command that prints the same events from the database.
func (v streamView) Subscribe() string {
	command := "iuworker subscribe"
	switch {
	case v.From == "after" && v.After != "":
		command += " --after " + quoted(v.After)
	case v.From == "beginning":
		command += " --from beginning"
	}
	if v.Template != "" {
		command += " --template " + quoted(v.Template)
	}
	if v.Actor != "" {
		command += " --actor " + quoted(v.Actor)
	}
	return command
}
