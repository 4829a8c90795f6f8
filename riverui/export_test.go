package webui

import (
	"time"
)

// What a page in tests shows must not depend on how long a busy machine takes for it.
func init() { //nolint:gochecknoinits // it applies to all tests
	for _, limit := range []*time.Duration{&firstPaint, &outageTimeout, &outageWait, &readLimit, &rowPatience, &readyTimeout, &healthLimit} {
		*limit = time.Minute
	}
}

// SetReadyTimeout sets how long a handler that has not served anything yet waits for Config.Ready.
func (h *Handler) SetReadyTimeout(timeout time.Duration) { h.probes.timeout = timeout }

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
