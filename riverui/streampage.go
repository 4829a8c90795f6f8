package webui

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
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
func (h *Handler) streamPage(r *http.Request) (*view, error) {
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
			return nil, refuse(http.StatusBadRequest, "the filter is not a text of up to 1000 characters")
		}
	}
	if view.From != "" && view.From != "now" && view.From != "beginning" && view.From != "after" {
		return nil, refuse(http.StatusBadRequest, "from is %q: it must be now, beginning or after", printable(view.From))
	}
	view.URL = h.at(eventsPath) + view.query()
	v := h.view(r, "Stream", "stream")
	v.Live = "" // the script of the viewer keeps the page up to date
	add(v, "viewer", "", func(ctx context.Context) reading[streamView] {
		filled, gates := view, h.sources.state.get(ctx).Value.Gates
		filled.LiveOpen = len(gates) > 0 && !slices.ContainsFunc(gates, func(g operate.Gate) bool { return !g.Open })
		// Without the keys, the form still takes one.
		filled.Templates, _ = snapshot(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) ([]string, error) {
			return templates.Keys(ctx, tx, "", templatesShown)
		})
		return fresh(filled, nil)
	})
	return v, nil
}

// options returns the filter and where to begin as names and values, which the URL and the command share.
func (v streamView) options() (options [][2]string) {
	switch {
	case v.From == "after" && v.After != "":
		options = append(options, [2]string{"after", v.After})
	case v.From == "beginning":
		options = append(options, [2]string{"from", v.From})
	}
	for _, option := range [][2]string{{"template", v.Template}, {"actor", v.Actor}} {
		if option[1] != "" {
			options = append(options, option)
		}
	}
	return options
}

func (v streamView) query() string {
	query := url.Values{}
	for _, option := range v.options() {
		query.Set(option[0], option[1])
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
	words := []string{"iuworker subscribe"}
	for _, option := range v.options() {
		words = append(words, "--"+option[0], quoted(option[1]))
	}
	return strings.Join(words, " ")
}
