package webui_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// A stream ends soon after its reader has lost access.
func TestAStreamEndsWhenItsCallerIsSignedOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users, programs := filepath.Join(dir, "users"), filepath.Join(dir, "tokens")
	write := func(path, text string) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write(users, "viewer:vera:"+viewerPassword+"\noperator:otto:"+operatorPassword+"\n")
	write(programs, oldToken+"\n"+newToken+"\n")
	s := setupStreaming(t, func(cfg *webui.Config) {
		var err error
		cfg.Credentials, err = webui.ReadCredentials(users)
		require.NoError(t, err)
		cfg.EventsTokens, err = webui.ReadTokens(programs)
		require.NoError(t, err)
	})
	server := serveOn(t, s.handler)
	open := func(path string, change func(*http.Request)) *http.Response {
		r := request(t, server+path, "text/event-stream")
		change(r)
		response, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	follow := func(response *http.Response) <-chan struct{} {
		require.Equal(t, http.StatusOK, response.StatusCode)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer func() { _ = response.Body.Close() }()
			_, _ = io.Copy(io.Discard, response.Body)
		}()
		return ended
	}
	ends := func(why string, ended <-chan struct{}) {
		select {
		case <-ended:
		case <-time.After(patience):
			require.Fail(t, "a stream goes on", why)
		}
	}
	session := func(until time.Time) func(*http.Request) {
		return func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "iuworker_events", Value: s.handler.Session("vera", until)})
		}
	}
	page, events := follow(open("/audit", asViewer)), follow(open("/v1/events", asViewer))
	longSession, program := follow(open("/v1/events", session(time.Now().Add(time.Hour)))), follow(open("/v1/events", bearer(oldToken)))
	staying, stayingProgram := follow(open("/audit", asOperator)), follow(open("/v1/events", bearer(newToken)))

	var short *http.Response
	for lasts := 2 * time.Second; short == nil || short.StatusCode == http.StatusUnauthorized && lasts < patience; lasts *= 2 {
		short = open("/v1/events", session(time.Now().Add(lasts))) // it may end before a busy machine serves it
	}
	ends("the session is over", follow(short))
	write(users, "operator:otto:"+operatorPassword+"\n")
	write(programs, newToken+"\n")
	ends("the user of a page was removed", page)
	ends("the user of a stream was removed", events)
	ends("the user of a session was removed", longSession)
	ends("the token was removed", program)
	for _, ended := range []<-chan struct{}{staying, stayingProgram} {
		select {
		case <-ended:
			require.Fail(t, "a stream ended whose caller may read it")
		default:
		}
	}
}
