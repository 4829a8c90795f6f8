package webui

import (
	"time"
)

// On a busy machine the sections take longer; in tests the status of a page must not depend on that.
func init() { firstPaint = time.Minute } //nolint:gochecknoinits // for all tests

// Session returns a cookie's value, for tests of expired cookies.
func (h *Handler) Session(user string, until time.Time) string { return h.sessions.make(user, until) }

// KnowsSession reports whether a cookie's value is one that the handler gave.
func (h *Handler) KnowsSession(value string) bool {
	_, ok := h.sessions.read(value, time.Now())
	return ok
}
