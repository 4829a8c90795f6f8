package webui

import (
	"time"
)

// The status of a page in tests must not depend on how long a busy machine takes for its sections.
func init() { firstPaint = time.Minute } //nolint:gochecknoinits // it applies to all tests

// Session returns the value of a cookie, for tests of expired cookies.
func (h *Handler) Session(user string, until time.Time) string { return h.sessions.make(user, until) }

// KnowsSession reports whether a handler has issued the value of a cookie.
func (h *Handler) KnowsSession(value string) bool {
	_, ok := h.sessions.read(value, time.Now())
	return ok
}

// PublicPaths returns the paths that programs use, below the base path.
func (h *Handler) PublicPaths() []string {
	paths := []string{"/" + eventsPath, "/" + metricsPath}
	for path := range h.openPaths() {
		paths = append(paths, path)
	}
	return paths
}
