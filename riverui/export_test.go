package webui

import (
	"net/http"
	"time"
)

// On a busy machine the sections take longer; in tests the status of a page must not depend on that.
func init() { firstPaint = time.Minute } //nolint:gochecknoinits // for all tests

// Session makes a cookie's value, for tests of those that are over.
func (h *Handler) Session(user string, until time.Time) string { return h.sessions.make(user, until) }

// CheckEventsRequest answers what is wrong with what a request asks for.
func CheckEventsRequest(r *http.Request) error {
	_, err := readEventsRequest(r, time.Now())
	return err
}

// KnowsSession reports whether a cookie's value is one that the handler gave.
func (h *Handler) KnowsSession(value string) bool {
	_, ok := h.sessions.read(value, time.Now())
	return ok
}

// Explain returns what is told of an error of the database.
func Explain(err error) (int, string) { return explain(err) }
