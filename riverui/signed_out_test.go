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
	ask := func(path string, change func(*http.Request)) (status int, ended <-chan struct{}) {
		r := request(t, server+path, "text/event-stream")
		change(r)
		response, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		t.Cleanup(func() { _ = response.Body.Close() })
		end := make(chan struct{})
		go func() {
			defer close(end)
			defer func() { _ = response.Body.Close() }()
			_, _ = io.Copy(io.Discard, response.Body)
		}()
		return response.StatusCode, end
	}
	follow := func(path string, change func(*http.Request)) <-chan struct{} {
		status, ended := ask(path, change)
		require.Equal(t, http.StatusOK, status)
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
	page, events := follow("/audit", asViewer), follow("/v1/events", asViewer)
	longSession, program := follow("/v1/events", session(time.Now().Add(time.Hour))), follow("/v1/events", bearer(oldToken))
	staying, stayingProgram := follow("/audit", asOperator), follow("/v1/events", bearer(newToken))

	lasts := 2 * time.Second
	status, ended := ask("/v1/events", session(time.Now().Add(lasts)))
	for status == http.StatusUnauthorized && lasts < patience { // it was over before a busy machine served it
		lasts *= 2
		status, ended = ask("/v1/events", session(time.Now().Add(lasts)))
	}
	require.Equal(t, http.StatusOK, status)
	ends("the session is over", ended)
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
