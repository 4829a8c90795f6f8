package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const token = "a-token-of-16-characters-or-more"

// ended reads a stream until it contains the text or ends.
func ended(t testing.TB, body io.ReadCloser, text string) (read string, found bool) {
	t.Helper()
	guard := time.AfterFunc(patience, func() { _ = body.Close() })
	defer guard.Stop()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if read += lines.Text() + "\n"; strings.Contains(lines.Text(), text) {
			return read, true
		}
	}
	return read, false
}

// A client with the token receives every event that the worker announces before it stops, and is then told to reconnect.
func TestFollowingTheEventsOfAWorkerNeedsItsToken(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 2)
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	pages, log, stop := working(t, db, "--events-token-file", file, "--events-max-connections", "1")
	require.Equal(t, http.StatusUnauthorized, get(t, pages+"v1/events"))

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, pages+"v1/events", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close() //nolint:errcheck // the test is over
	require.Equal(t, http.StatusOK, response.StatusCode)
	second, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, second.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, second.StatusCode)

	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one").done(t)
	_, found := ended(t, response.Body, `"subject": "tpl-inst:auto:one"`)
	require.True(t, found)
	require.Equal(t, exitDone, stop(), log.String())
	read, found := ended(t, response.Body, "nothing says this")
	require.False(t, found)
	require.Contains(t, read, "reconnect")
	require.NotContains(t, log.String(), token)
}

func TestWrongTokensAreWrongUsage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("short"), 0o600))
	base := environment{"IUWORKER_DATABASE_URL": nowhere}
	with := func(name, value string) environment {
		return environment{"IUWORKER_DATABASE_URL": nowhere, name: value}
	}
	for says, r := range map[string]result{
		"no such file": run(t, base, "work", "--events-token-file", "/nowhere/at/all"),
		"tokens: line 1: the token has fewer than 16 characters":          run(t, with("IUWORKER_EVENTS_TOKEN_FILE", file), "work"),
		"IUWORKER_EVENTS_TOKEN: line 1: the token has fewer than":         run(t, with("IUWORKER_EVENTS_TOKEN", "short"), "work"),
		"--events-token-file and IUWORKER_EVENTS_TOKEN contradict":        run(t, with("IUWORKER_EVENTS_TOKEN", token), "work", "--events-token-file", file),
		"--events-max-connections is \"0\": it must be a whole number":    run(t, base, "work", "--events-max-connections", "0"),
		"IUWORKER_EVENTS_MAX_CONNECTIONS is \"many\": it must be a whole": run(t, with("IUWORKER_EVENTS_MAX_CONNECTIONS", "many"), "dev"),
	} {
		r.failed(t, exitUsage, says)
		require.NotContains(t, r.errOut, token)
	}
}

func TestTheLineToFollowWith(t *testing.T) {
	t.Parallel()
	const pages = "http://127.0.0.1:8080/iu/"
	who, err := (&workFlags{}).resolve(nil, environment{}.get)
	require.NoError(t, err)
	require.Equal(t, "curl -N 'http://127.0.0.1:8080/iu/v1/events?from=beginning'", who.curl(pages))
	who, err = (&workFlags{}).resolve(nil, environment{credentialsVariable: "viewer:ann:longenough"}.get)
	require.NoError(t, err)
	require.Equal(t, "curl -N -u USER 'http://127.0.0.1:8080/iu/v1/events?from=beginning'", who.curl(pages))
	who, err = (&workFlags{}).resolve(nil, environment{credentialsVariable: "viewer:ann:longenough", tokensVariable: token}.get)
	require.NoError(t, err)
	require.Equal(t, `curl -N -H "Authorization: Bearer $TOKEN" 'http://127.0.0.1:8080/iu/v1/events?from=beginning'`, who.curl(pages))
}

func (e environment) get(name string) string { return e[name] }

// follows runs the line that dev prints, in a shell, until its output contains the text.
func follows(t testing.TB, line, text string) {
	t.Helper()
	shell := exec.CommandContext(t.Context(), "sh", "-c", "exec "+line)
	out, err := shell.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, shell.Start())
	read, found := ended(t, out, text)
	require.True(t, found, read)
	require.NoError(t, shell.Process.Kill())
	_ = shell.Wait() // it was killed
}
