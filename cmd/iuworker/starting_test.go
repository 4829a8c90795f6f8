package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// A worker that starts before its server waits for the server, like a worker whose server restarts.
func TestWorkWaitsForItsServer(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	server.Kill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"work", "--http-addr", "127.0.0.1:0"}, func(name string) string { return on(db)[name] }, newBuffer(), log)
	}()
	log.await(t, "waiting for the database")
	log.await(t, `"url":"`)
	pages := regexp.MustCompile(`"url":"(http://[^"]+)"`).FindStringSubmatch(log.String())
	require.NotNil(t, pages, log.String())
	require.Equal(t, http.StatusOK, get(t, pages[1]+"healthz"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, pages[1]+"readyz", http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	var ready struct{ Reason string }
	require.NoError(t, json.NewDecoder(response.Body).Decode(&ready))
	require.Contains(t, ready.Reason, "cannot connect to the database")

	require.NoError(t, server.Restart(t.Context()))
	log.await(t, `"Worker: ready"`)
	require.Equal(t, 1, strings.Count(log.String(), "waiting for the database"), log.String())
	cancel()
	require.Equal(t, exitDone, <-ended, log.String())
}

func TestWorkThatWaitsEndsAtSIGTERM(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"work", "--http-addr", "off", "--database-url", nowhere}, func(string) string { return "" }, newBuffer(), log)
	}()
	log.await(t, "waiting for the database")
	cancel()
	require.Equal(t, exitDone, <-ended, log.String())
}

// An error that a retry cannot fix ends the program at once.
func TestWorkDoesNotWaitInVain(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.Path = "/there_is_none"
	run(t, environment{"IUWORKER_DATABASE_URL": u.String()}, "work", "--http-addr", "off", "--log-level", "error").
		failed(t, exitFailed, "there_is_none")
	working(t, db, "--worker-id", "named")
	run(t, on(db), "work", "--http-addr", "off", "--log-level", "error", "--worker-id", "named").
		failed(t, exitFailed, "another worker has the same id: named lives on ")
}
