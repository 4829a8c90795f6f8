package webui

import (
	"net/http"
	"time"
)

// pagePolicy allows scripts, styles and images of this binary alone, nothing inline, and no frames.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// withHeaders sets the headers of every response.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers would send "Origin: null" with our own forms
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

const (
	bodyLimit    = 1 << 20 // bytes; River UI sends lists of job ids
	readTimeout  = 15 * time.Second
	writeTimeout = time.Minute
)

// withLimits bounds the body and the time of a request. Streams remove the write deadline.
func withLimits(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		// An error means that the writer has no deadlines, as in a test; then there is no connection to hold, either.
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if r.ContentLength != 0 {
			_ = control.SetReadDeadline(time.Now().Add(readTimeout))
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		next.ServeHTTP(w, r)
	})
}
