package webui_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// The frame and the sections before a slow section are sent while the slow one is still being read.
func TestAViewSendsWhatItHas(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	page := webui.NewTestView(t, 150*time.Millisecond, func() (string, error) { return "at once", nil }, func() (string, error) {
		<-release
		return "at last", nil
	})
	server := serveOn(t, page)
	response, err := http.DefaultTransport.RoundTrip(request(t, server, ""))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	lines := bufio.NewReader(response.Body)
	var text strings.Builder
	for !strings.Contains(text.String(), "at once") {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		text.WriteString(line)
	}
	require.Contains(t, text.String(), "<nav")
	require.Contains(t, text.String(), `<section id="one" class="card" aria-labelledby="h-one">`)
	close(release)
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Contains(t, string(rest), "at last")
	require.Contains(t, string(rest), "</html>")
}

// A section that cannot be read determines the status of the page. If it was read before, it is shown, marked as stale.
func TestAViewKeepsWhatItHad(t *testing.T) {
	t.Parallel()
	lost := &pgconn.PgError{Code: "57P01", Message: "terminating connection"}
	page := webui.NewTestView(t, patience, func() (string, error) { return "", lost }, func() (string, error) { return "two", nil })
	w := serve(page, http.MethodGet, "/", nil)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "Cannot be shown: the connection to the database was lost; try again.")
	require.Contains(t, w.Body.String(), "two")

	var err error
	page = webui.NewTestView(t, patience, func() (string, error) { return "one", err }, func() (string, error) { return "two", nil })
	require.Equal(t, http.StatusOK, serve(page, http.MethodGet, "/", nil).Code)
	err = lost
	w = serve(page, http.MethodGet, "/", nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), `<section id="one" class="card stale" aria-labelledby="h-one">`)
	require.Contains(t, w.Body.String(), ">one<")
	require.NotContains(t, w.Body.String(), "Cannot be shown")
}

// Requested as an event stream, a view sends each section that changes, and marks those that cannot be read.
func TestAViewIsKeptUpToDate(t *testing.T) {
	t.Parallel()
	values := make(chan any, 10)
	last := any("first")
	page := webui.NewTestView(t, patience, func() (string, error) {
		select {
		case last = <-values:
		default:
		}
		if err, ok := last.(error); ok {
			return "", err
		}
		return last.(string), nil
	}, func() (string, error) { return "same", nil })
	server := serveOn(t, page)
	response, err := http.DefaultTransport.RoundTrip(request(t, server, "text/event-stream"))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	updates := map[string]int{}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (update struct {
		ID, HTML string
		Stale    bool
	},
	) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && strings.HasPrefix(data, `{"id"`) {
				require.NoError(t, json.Unmarshal([]byte(data), &update))
				updates[update.ID]++
				return update
			}
		}
		require.NoError(t, lines.Err())
		return update
	}
	for range 4 {
		next()
	}
	require.Equal(t, map[string]int{"one": 1, "two": 1, "frame-nav": 1, "frame-banner": 1}, updates)
	values <- "second"
	require.Contains(t, next().HTML, "second")
	values <- errors.New("what went wrong")
	update := next()
	require.Equal(t, "one", update.ID)
	require.True(t, update.Stale)
	values <- "third"
	update = next()
	require.Contains(t, update.HTML, "third")
	require.False(t, update.Stale)
	require.Equal(t, 1, updates["two"], "what did not change is not sent again")
}

func serveOn(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func request(t *testing.T, url, accept string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	return r
}
