package webui

import (
	"crypto/hmac"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// eventsPath is the path of the events below the base path.
const eventsPath = "v1/events"

// isEvents reports whether a request is for the events.
func (h *Handler) isEvents(r *http.Request) bool {
	return h.cfg.Events != nil && r.URL.Path == h.at(eventsPath)
}

// guardEvents lets a request through if its Authorization header has a token or a user of the pages, or if it has the cookie that
// the pages give browsers. If neither tokens nor credentials are configured, it lets every request of this machine through.
func (h *Handler) guardEvents(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			h.say(w, r, http.StatusMethodNotAllowed, "%s is not allowed here; allowed: GET, HEAD", printable(r.Method))
			return
		}
		if name := secretInURL(r.URL); name != "" {
			h.say(w, r, http.StatusBadRequest,
				"%s must not be in the URL, which ends up in logs: send the header Authorization: Bearer, "+
					"or use a browser that is signed in to the pages", name)
			return
		}
		if h.withToken(r, h.cfg.EventsTokens, "Events") {
			token := account{name: "token", role: RoleViewer}
			next.ServeHTTP(w, letThrough(r, token, func() (account, bool) { return token, h.withToken(r, h.cfg.EventsTokens, "Events") }))
			return
		}
		if h.cfg.Credentials == nil {
			out := "--http-credentials-file or --events-token-file"
			if h.cfg.EventsTokens != nil {
				out = "" // a client without a token is told so
			}
			if sentence := notLocal(r, "the events", out); sentence != "" {
				h.say(w, r, http.StatusForbidden, "%s", sentence)
				return
			}
		}
		// A page of another site cannot read the response, but its browser would send passwords and use up connections. So the
		// request is checked like one that changes something.
		change := *r
		change.Method = http.MethodPost
		if origins.Check(&change) != nil {
			h.say(w, r, http.StatusForbidden, "this request comes from another site; follow the events from these pages, or with a token")
			return
		}
		by, ok := h.signInToEvents(r)
		if !ok {
			h.say(w, r, http.StatusUnauthorized, "%s", h.challenge(w, h.cfg.EventsTokens))
			return
		}
		next.ServeHTTP(w, letThrough(r, by, func() (account, bool) { return h.signInToEvents(r) }))
	})
}

var secretNames = []string{"token", "access_token", "auth", "authorization", "bearer", "api_key", "apikey", "password"}

// secretInURL returns the part of a URL that reveals a secret; "" if there is none.
func secretInURL(u *url.URL) string {
	for name := range u.Query() {
		if slices.Contains(secretNames, strings.ToLower(name)) {
			return strings.ToLower(name)
		}
	}
	if u.User != nil {
		return "a user"
	}
	return ""
}

// withToken reports whether a request has one of the tokens. A wrong one is logged by the component.
func (h *Handler) withToken(r *http.Request, tokens *Tokens, component string) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if tokens == nil || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	right := tokens.current().check(strings.TrimSpace(token))
	if !right {
		h.cfg.Logger.WarnContext(r.Context(), component+": wrong token", slog.String("remote", remote(r)))
	}
	return right
}

// signInToEvents returns the user of a request without a token. An Authorization header takes precedence over the cookie, even if
// it is wrong.
func (h *Handler) signInToEvents(r *http.Request) (account, bool) {
	switch {
	case h.cfg.Credentials == nil && h.cfg.EventsTokens == nil:
		return nobody, true
	case h.cfg.Credentials == nil:
		return account{}, false
	case r.Header.Get("Authorization") != "":
		return h.signIn(r)
	}
	return h.signInBySession(r)
}

// challenge sets the headers that ask for what is missing, and returns a sentence that says how to send it.
func (h *Handler) challenge(w http.ResponseWriter, tokens *Tokens) string {
	var ways []string
	if tokens != nil {
		w.Header().Add("WWW-Authenticate", `Bearer realm="iuworker"`)
		ways = append(ways, "send a token of the tokens file (Authorization: Bearer TOKEN)")
	}
	if h.cfg.Credentials != nil {
		w.Header().Add("WWW-Authenticate", basicChallenge)
		ways = append(ways, "sign in with a user and a password of the credentials file")
	}
	return strings.Join(ways, ", or ")
}

const (
	sessionCookie = "iuworker_events"
	sessionLasts  = 12 * time.Hour
)

// session returns the cookie by which a browser that is signed in to the pages follows the events: its EventSource cannot send a
// header. It names the user and its end, and is signed with the user's key. It opens nothing but the events.
func (c *credential) session(until time.Time) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(c.name)) + "." + strconv.FormatInt(until.Unix(), 10)
	return text + "." + c.sign(text)
}

func (c *credential) sign(text string) string {
	sum := digestKey(c.sessionKey()).digest(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ofSession returns the user of a cookie that a process with the same users has signed and that has not expired; nil if there is
// none.
func (c *users) ofSession(cookie string, now time.Time) *credential {
	end := max(strings.LastIndexByte(cookie, '.'), 0)
	name, until, _ := strings.Cut(cookie[:end], ".")
	seconds, err := strconv.ParseInt(until, 10, 64)
	if err != nil || now.Unix() >= seconds {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return nil
	}
	user := c.named(string(text))
	if user == nil || !hmac.Equal([]byte(user.sign(cookie[:end])), []byte(cookie[end+1:])) {
		return nil
	}
	return user
}

// signInBySession returns the account of a request that has a valid cookie.
func (h *Handler) signInBySession(r *http.Request) (account, bool) {
	for _, cookie := range r.CookiesNamed(sessionCookie) { // another iuworker on this host may have given one, too
		if user := h.cfg.Credentials.current().ofSession(cookie.Value, time.Now()); user != nil {
			return user.account, true
		}
	}
	return account{}, false
}

// giveSession gives the cookie to a browser that requests a page.
func (h *Handler) giveSession(w http.ResponseWriter, r *http.Request, by account) {
	if h.cfg.Credentials == nil || h.cfg.Events == nil || changes(r) || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return
	}
	user := h.cfg.Credentials.current().named(by.name)
	if user == nil {
		return // removed just now
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: user.session(time.Now().Add(sessionLasts)), MaxAge: int(sessionLasts.Seconds()),
		Path: h.at(eventsPath), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	})
}
