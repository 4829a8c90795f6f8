package webui

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
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

	Environment  string // such as PROD; "" if it has no name
	Among, Index string // the name of the database among several, and the path of their index; "" if it is the only one
	Database     string // shop@db-1; "" on the index
	Live         string // where updates come from; "" if the page does not change while it is open
	Nav          []navItem
	Attention    int64         // how many things need the operator, for the title
	Lost         *lostDatabase // nil if the database can be reached
	Standby      *standbyNote  // nil if there is nothing to say about it
}

func (h *Handler) page(r *http.Request, title string) page {
	if h.cfg.Databases != nil {
		return h.pageOfIndex(r, title)
	}
	by := who(r.Context())
	p := page{
		Base: h.cfg.BasePath, Title: title, Version: h.cfg.Version, Operator: by.role == RoleOperator,
		Metrics: h.cfg.Metrics != nil, Events: h.cfg.Events != nil,
		Environment: h.cfg.Environment, Among: h.cfg.Name, Index: h.cfg.Index,
		Database: databaseOf(h.cfg.Pool), Nav: h.nav(h.pathOf(r)), Lost: h.lost(r.Context()), Standby: h.standbyNote(),
	}
	for _, item := range p.Nav {
		if item.Path == "/health" {
			p.Attention = item.Count
		}
	}
	if h.cfg.Credentials != nil {
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

// back redirects to one of our pages after a change. The page shows the audit line if there is one, and the state after the last of
// them, whichever process serves it. path may have a query.
func (h *Handler) back(w http.ResponseWriter, r *http.Request, path string, auditIDs ...int64) {
	to := h.at(path)
	if n := len(auditIDs); n > 0 {
		separator, name := "?", "done"
		if strings.Contains(to, "?") {
			separator = "&"
		}
		if n > 1 {
			name = "changed"
		}
		to += separator + name + "=" + strconv.FormatInt(auditIDs[n-1], 10)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// db returns where the pages read.
func (h *Handler) db() limited { return limited{primary: h.cfg.Pool, replica: h.cfg.Replica} }

// live returns where the pages read what is true now.
func (h *Handler) live() limited {
	return limited{primary: h.cfg.Pool, replica: h.cfg.Replica, live: true}
}

// navItem is a page in the navigation.
type navItem struct {
	Path, Title string
	Key         string // with g before it, the keys that lead there
	Bar         string // its short title in the bar at the bottom of a phone; "" keeps it out
	Count       int64  // shown next to the title unless it is 0
	Bad         bool   // the count asks for action
	Current     bool
}

// navigation lists the pages in their order.
var navigation = []navItem{
	{Path: "/", Title: "Now", Key: "n", Bar: "Now"},
	{Path: "/events", Title: "Events", Key: "e", Bar: "Events"},
	{Path: "/dead-letters", Title: "Dead letters", Key: "d", Bar: "Dead"},
	{Path: "/consumers", Title: "Consumers", Key: "c"},
	{Path: "/scaleouts", Title: "Scale-outs", Key: "s"},
	{Path: "/templates", Title: "Templates", Key: "t"},
	{Path: "/workers", Title: "Workers", Key: "w"},
	{Path: "/health", Title: "Health", Key: "h"},
	{Path: "/audit", Title: "Audit", Key: "a"},
	{Path: "/rollback", Title: "Rollback"},
	{Path: "/settings", Title: "Settings"},
	{Path: "/stream", Title: "Stream", Key: "l"},
}

// nav returns the navigation as the page at path shows it. Its numbers are those that are known without reading.
func (h *Handler) nav(path string) []navItem {
	items := slices.Clone(navigation)
	for i := range items {
		item := &items[i]
		item.Current = path == item.Path || item.Path != "/" && strings.HasPrefix(path, item.Path+"/")
		switch item.Path {
		case "/dead-letters":
			item.Count = letters(h.sources.state.peek().Value).N
		case "/health":
			report := h.sources.health.peek().Value
			failed := report.Count(operate.HealthFail)
			item.Count, item.Bad = int64(failed+report.Count(operate.HealthWarn)), failed > 0
		}
	}
	return items
}

func letters(s status.Status) operate.Count {
	var all operate.Count
	for _, c := range s.DeadLetters {
		all = plus(all, c.Count)
	}
	return all
}

// pathOf returns the path of a request below the base path.
func (h *Handler) pathOf(r *http.Request) string {
	path := strings.TrimPrefix(r.URL.Path, h.cfg.BasePath)
	if path == "" {
		return "/"
	}
	return path
}

var (
	production = regexp.MustCompile(`(?i)^(prod|live)`)
	staging    = regexp.MustCompile(`(?i)^(stag|pre|uat|qa|test|integ)`)
)

// EnvironmentKind returns the class of the environment's name: production, staging or other.
func (p page) EnvironmentKind() string {
	switch {
	case production.MatchString(p.Environment):
		return "production"
	case staging.MatchString(p.Environment):
		return "staging"
	default:
		return "other"
	}
}
