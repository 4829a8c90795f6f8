package webui

import (
	"crypto/hmac"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	sessionCookie = "iuworker_events"
	sessionLasts  = 12 * time.Hour
)

// sessions makes and reads the cookies by which a browser that is signed in to the pages follows the events: its EventSource
// cannot send a header. A cookie names the user and its end, and is signed with a key that lives as long as the process. It opens
// nothing but the events. It is safe for concurrent use.
type sessions struct{ digestKey }

func (s sessions) sign(text string) string {
	sum := s.digest(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (s sessions) make(user string, until time.Time) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(user)) + "." + strconv.FormatInt(until.Unix(), 10)
	return text + "." + s.sign(text)
}

// read returns the user of a cookie that we made and that has not expired.
func (s sessions) read(cookie string, now time.Time) (user string, ok bool) {
	end := strings.LastIndexByte(cookie, '.')
	if end < 0 || !hmac.Equal([]byte(s.sign(cookie[:end])), []byte(cookie[end+1:])) {
		return "", false
	}
	name, until, _ := strings.Cut(cookie[:end], ".")
	seconds, err := strconv.ParseInt(until, 10, 64)
	if err != nil || now.Unix() >= seconds {
		return "", false
	}
	text, err := base64.RawURLEncoding.DecodeString(name)
	return string(text), err == nil
}

// of returns the account of a request that has a valid cookie, if its user still exists.
func (s sessions) of(r *http.Request, users *Credentials, now time.Time) (account, bool) {
	for _, cookie := range r.CookiesNamed(sessionCookie) { // another iuworker on this host may have given one, too
		if user, ok := s.read(cookie.Value, now); ok {
			if entry := users.current().named(user); entry != nil {
				return entry.account, true
			}
		}
	}
	return account{}, false
}

// giveSession gives the cookie to a browser that requests a page.
func (h *Handler) giveSession(w http.ResponseWriter, r *http.Request, by account) {
	if h.cfg.Credentials == nil || h.cfg.Events == nil || changes(r) || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: h.sessions.make(by.name, time.Now().Add(sessionLasts)), MaxAge: int(sessionLasts.Seconds()),
		Path: h.at(eventsPath), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	})
}
