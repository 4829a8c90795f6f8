package webui_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

func TestProbesRespondBelowTheBasePathAndAtTheRoot(t *testing.T) {
	t.Parallel()
	var failure atomic.Pointer[error]
	handler, _ := newHandler(t, func(cfg *webui.Config) {
		cfg.BasePath = "/iu"
		cfg.Ready = func(context.Context) error {
			if err := failure.Load(); err != nil {
				return *err
			}
			return nil
		}
	})
	for _, base := range []string{"", "/iu"} {
		alive := serve(handler, http.MethodGet, base+"/healthz", nil)
		require.Equal(t, http.StatusOK, alive.Code)
		require.Equal(t, "ok", alive.Body.String())

		failure.Store(nil)
		ready := serve(handler, http.MethodGet, base+"/readyz", nil)
		require.Equal(t, http.StatusOK, ready.Code)
		require.JSONEq(t, `{"ready": true}`, ready.Body.String())

		err := errors.New("no way to postgres://me:secret@db/x with password=hidden")
		failure.Store(&err)
		ready = serve(handler, http.MethodGet, base+"/readyz", nil)
		require.Equal(t, http.StatusServiceUnavailable, ready.Code)
		require.JSONEq(t, `{"ready": false, "reason": "no way to postgres://me:xxxxx@db/x with password=xxxxx"}`, ready.Body.String())
	}
}

func TestReadyGivesUpOnADatabaseThatDoesNotReply(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	handler, _ := newHandler(t, func(cfg *webui.Config) {
		cfg.Ready = func(ctx context.Context) error {
			asked.Add(1)
			<-ctx.Done()
			return fmt.Errorf("ask: %w", ctx.Err())
		}
	})
	handler.SetReadyTimeout(2 * time.Second)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			ready := serve(handler, http.MethodGet, "/readyz", nil)
			if ready.Code != http.StatusServiceUnavailable {
				t.Errorf("status %d", ready.Code)
			}
		})
	}
	group.Wait()
	require.Less(t, asked.Load(), int64(8), "those who wait at once are answered at once")
}

func TestUnknownPathsAndMethodsGetASentence(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, nil)
	unknown := serve(handler, http.MethodGet, "/nowhere", nil)
	require.Equal(t, http.StatusNotFound, unknown.Code)
	require.Equal(t, "there is nothing at /nowhere\n", unknown.Body.String())
	require.Equal(t, "nosniff", unknown.Header().Get("X-Content-Type-Options"))

	method := serve(handler, http.MethodPost, "/healthz", nil)
	require.Equal(t, http.StatusMethodNotAllowed, method.Code)
	require.Equal(t, "GET, HEAD", method.Header().Get("Allow"))
	require.Equal(t, "POST is not allowed here; allowed: GET, HEAD\n", method.Body.String())
}

func TestRiverUIIsServed(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, func(cfg *webui.Config) { cfg.BasePath = "/iu" })
	page := serve(handler, http.MethodGet, "/iu/riverui/", nil)
	require.Equal(t, http.StatusOK, page.Code)
	require.Contains(t, page.Body.String(), "/iu/riverui/assets/")
	list := serve(handler, http.MethodGet, "/iu/riverui/api/jobs?state=available", nil)
	require.Equal(t, http.StatusOK, list.Code)
	require.JSONEq(t, `{"data": []}`, list.Body.String())
}

func TestInvalidBasePathsAreRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"iu", "/a b", "//a", "/a/../b", "/{x}"} {
		_, err := webui.CheckBasePath(path)
		require.ErrorContains(t, err, "must be like /iuworker", path)
	}
	path, err := webui.CheckBasePath("/iu/")
	require.NoError(t, err)
	require.Equal(t, "/iu", path)
}

func TestABrowserGetsASentenceFromTheMetricsAddress(t *testing.T) {
	t.Parallel()
	metrics, err := webui.NewMetrics(webui.Config{Pool: iutest.New(t).Pool, Metrics: http.NotFoundHandler()})
	require.NoError(t, err)
	w := serve(metrics, http.MethodGet, "/", nil, with("Accept", "text/html"))
	require.Equal(t, http.StatusNotFound, w.Code)
	require.Equal(t, "there is nothing at /\n", w.Body.String())
}
