package webui

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

// navItem is a page in the navigation.
type navItem struct {
	Path, Title string
	Key         string // with g before it, the keys that lead there
	Bar         string // its short title in the bar at the bottom of a phone; "" keeps it out
	Count       string // shown next to the title
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

// badge is a number next to a page's title.
type badge struct {
	n   int64
	bad bool
}

// badges returns the numbers in the navigation by path, as far as they are known without reading.
func (h *Handler) badges() map[string]badge {
	known := map[string]badge{}
	if state := h.sources.state.peek(); !state.At.IsZero() {
		known["/dead-letters"] = badge{n: letters(state.Value).N}
	}
	if health := h.sources.health.peek(); !health.At.IsZero() {
		failed := health.Value.Count(operate.HealthFail)
		known["/health"] = badge{n: int64(failed + health.Value.Count(operate.HealthWarn)), bad: failed > 0}
	}
	return known
}

func letters(s status.Status) operate.Count {
	var all operate.Count
	for _, c := range s.DeadLetters {
		all = plus(all, c.Count)
	}
	return all
}

// nav returns the navigation as the page at path shows it.
func (h *Handler) nav(path string) []navItem {
	badges := h.badges()
	items := make([]navItem, 0, len(navigation))
	for _, item := range navigation {
		if b := badges[item.Path]; b.n > 0 {
			item.Count, item.Bad = strconv.FormatInt(b.n, 10), b.bad
		}
		item.Current = path == item.Path || item.Path != "/" && strings.HasPrefix(path, item.Path+"/")
		items = append(items, item)
	}
	return items
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

// CheckEnvironment returns an error if text cannot name an environment.
func CheckEnvironment(text string) error {
	if runes := []rune(text); len(runes) > 20 || printable(text) != text {
		return errEnvironment
	}
	return nil
}
