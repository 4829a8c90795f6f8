package webui

import "time"

// Session makes a cookie's value, for tests of those that are over.
func (h *Handler) Session(user string, until time.Time) string { return h.sessions.make(user, until) }
