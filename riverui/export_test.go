package webui

import (
	"time"
)

// The status of a page in tests must not depend on how long a busy machine takes for its sections.
func init() { firstPaint = time.Minute } //nolint:gochecknoinits // it applies to all tests

// Session returns the value of a cookie, for tests of expired cookies.
func (h *Handler) Session(user string, until time.Time) string {
	known := h.cfg.Credentials.current().named(user)
	if known == nil { // a user of an earlier time
		known = &credential{account: account{name: user}, sessionKey: sessionKeyOf(user, "as it was")}
	}
	return known.session(until)
}

// KnowsSession reports whether a handler has issued the value of a cookie.
func (h *Handler) KnowsSession(value string) bool {
	return h.cfg.Credentials.current().ofSession(value, time.Now()) != nil
}

// PublicPaths returns the paths that programs use, below the base path.
func (h *Handler) PublicPaths() []string {
	paths := []string{"/" + eventsPath, "/" + metricsPath}
	for path := range h.openPaths() {
		paths = append(paths, path)
	}
	return paths
}
