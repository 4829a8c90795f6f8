package webui

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// account is the user who makes a request.
type account struct {
	name string
	role Role
}

// nobody is the user of pages that require no credentials.
var nobody = account{name: "anonymous", role: RoleOperator}

type accountKey struct{}

// who returns the user of a request that the guard let through.
func who(ctx context.Context) account {
	a, ok := ctx.Value(accountKey{}).(account)
	if !ok {
		return account{name: "nobody", role: RoleViewer}
	}
	return a
}

func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}

// guard lets a request through if its user is known, and may make changes if it is one.
func (h *Handler) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.cfg.Credentials == nil {
			if sentence := notLocal(r, h.serves.these, "--http-credentials-file"); sentence != "" {
				h.say(w, r, http.StatusForbidden, "%s", sentence)
				return
			}
		}
		if err := origins.Check(r); err != nil {
			h.say(w, r, http.StatusForbidden, "this request comes from another site; make changes from these pages")
			return
		}
		a, ok := h.signIn(r)
		if !ok {
			w.Header().Set("WWW-Authenticate", basicChallenge)
			h.say(w, r, http.StatusUnauthorized, "sign in with a user and a password of the credentials file")
			return
		}
		if changes(r) && a.role != RoleOperator {
			h.say(w, r, http.StatusForbidden, "%s is a viewer and cannot change anything; sign in as an operator", a.name)
			return
		}
		h.giveSession(w, r, a)
		next.ServeHTTP(w, letThrough(r, a, func() (account, bool) { return h.signIn(r) }))
	})
}

const basicChallenge = `Basic realm="iuworker", charset="UTF-8"`

func (h *Handler) signIn(r *http.Request) (account, bool) {
	if h.cfg.Credentials == nil {
		return nobody, true
	}
	user, password, given := r.BasicAuth()
	if !given {
		return account{}, false
	}
	a, right := h.cfg.Credentials.current().check(user, password)
	if !right { // the text in place of a user may be a password: log known users only
		h.cfg.Logger.WarnContext(r.Context(), "Pages: wrong credentials", slog.String("known_user", a.name), slog.String("remote", remote(r)))
	}
	return a, right
}

func isLoopback(host string) bool {
	host = (&url.URL{Host: host}).Hostname()
	ip := net.ParseIP(host)
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip != nil && ip.IsLoopback()
}

func remote(r *http.Request) string { return (&url.URL{Host: r.RemoteAddr}).Hostname() }

// pagePolicy allows scripts, styles and images of this binary alone, nothing inline, and no frames.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const (
	bodyLimit    = 1 << 20 // bytes; River UI sends lists of job ids
	readTimeout  = 15 * time.Second
	writeTimeout = time.Minute
)

// withHeadersAndLimits sets the headers of every response, and bounds the body and the time of a request. Streams remove the write
// deadline.
func withHeadersAndLimits(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers would send "Origin: null" with our own forms
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")

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
