package webui

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

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
