package webui

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
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

// sessions make and know the cookies by which a browser that is signed in to the pages follows the events: its
// EventSource cannot send a header. A cookie says who it is and until when, signed with a key that lives and dies with
// the process; it is of use for the events alone. Safe for concurrent use.
type sessions struct{ key [32]byte }

func newSessions() *sessions {
	var s sessions
	_, _ = rand.Read(s.key[:]) // never fails
	return &s
}

func (s *sessions) sign(text string) string {
	mac := hmac.New(sha256.New, s.key[:])
	_, _ = mac.Write([]byte(text)) // a hash never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *sessions) make(user string, until time.Time) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(user)) + "." + strconv.FormatInt(until.Unix(), 10)
	return text + "." + s.sign(text)
}

// read returns the user of a cookie that we made and that is not over.
func (s *sessions) read(cookie string, now time.Time) (user string, ok bool) {
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

// of returns who sends a cookie of ours and still is a user.
func (s *sessions) of(r *http.Request, users *Credentials, now time.Time) (account, bool) {
	for _, cookie := range r.CookiesNamed(sessionCookie) { // another iuworker on this host may have given one, too
		user, ok := s.read(cookie.Value, now)
		if !ok {
			continue
		}
		for _, entry := range users.current().entries {
			if entry.user == user {
				return account{name: user, role: entry.role}, true
			}
		}
	}
	return account{}, false
}

// giveSession gives a browser that shows a page the cookie.
func (h *Handler) giveSession(w http.ResponseWriter, r *http.Request, by account) {
	if h.sessions == nil || h.cfg.Credentials == nil || h.cfg.Events == nil || changes(r) || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: h.sessions.make(by.name, time.Now().Add(sessionLasts)), MaxAge: int(sessionLasts.Seconds()),
		Path: h.at(eventsPath), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	})
}
