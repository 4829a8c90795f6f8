package main

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// With a hundred streams, a signal still ends the worker in time, and each client is told to reconnect.
func TestSIGTERMEndsAWorkerInTimeThatAHundredFollow(t *testing.T) {
	t.Parallel()
	const limit = 20 * time.Second
	db := iutest.New(t)
	p := start(t, db, "work", "--http-addr", "127.0.0.1:0", "--shutdown-timeout", limit.String())
	p.errOut.await(t, `"Worker: ready"`)
	found := regexp.MustCompile(`"url":"(http://[^"]+)"`).FindStringSubmatch(p.errOut.String())
	require.NotNil(t, found, p.errOut.String())

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var bodies []io.Reader
	for range 100 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, found[1]+"v1/events", nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		t.Cleanup(func() { _ = response.Body.Close() }) // it has been read to its end
		require.Equal(t, http.StatusOK, response.StatusCode)
		bodies = append(bodies, response.Body)
	}

	began := time.Now()
	p.signal(t, syscall.SIGTERM)
	require.NoError(t, <-p.ended, p.errOut.String())
	require.Less(t, time.Since(began), limit)
	for _, body := range bodies {
		said, err := io.ReadAll(body)
		require.NoError(t, err)
		require.Contains(t, string(said), "this worker is stopping; reconnect")
	}
}
