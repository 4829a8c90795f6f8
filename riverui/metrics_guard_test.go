package webui_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

// served is a handler that responds with 200.
var served = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })

func TestAScraperNeedsAToken(t *testing.T) {
	t.Parallel()
	const ok, unauthorized, forbidden = http.StatusOK, http.StatusUnauthorized, http.StatusForbidden
	const bearerChallenge, basicChallenge = `Bearer realm="iuworker"`, `Basic realm="iuworker", charset="UTF-8"`
	elsewhere := host("worker.example.com:8080")
	requests := map[string]func(*http.Request){
		"none": nothing, "elsewhere": elsewhere, "old": together(elsewhere, bearer(oldToken)), "new": bearer(newToken),
		"wrong": bearer(viewerPassword), "empty": bearer(""), "viewer": together(elsewhere, asViewer), "wrong user": as("vera", "wrong password"),
		"proxy": together(with("X-Forwarded-For", "192.0.2.1"), bearer(oldToken)),
	}
	for name, test := range map[string]struct {
		configure  func(*webui.Config)
		pages      map[string]int // beside the pages
		apart      map[string]int // on an address of their own
		challenges []string
	}{
		"tokens": {
			func(cfg *webui.Config) { cfg.MetricsTokens = tokens(t) },
			map[string]int{"none": unauthorized, "elsewhere": unauthorized, "old": ok, "new": ok, "wrong": unauthorized, "empty": unauthorized, "proxy": ok},
			map[string]int{"none": unauthorized, "elsewhere": unauthorized, "old": ok, "wrong": unauthorized, "viewer": unauthorized},
			[]string{bearerChallenge},
		},
		"tokens and users": {
			func(cfg *webui.Config) { cfg.MetricsTokens, cfg.Credentials = tokens(t), credentials(t) },
			map[string]int{"none": unauthorized, "old": ok, "wrong": unauthorized, "viewer": ok, "wrong user": unauthorized},
			map[string]int{"none": unauthorized, "new": ok, "wrong": unauthorized, "viewer": ok, "wrong user": unauthorized},
			[]string{bearerChallenge, basicChallenge},
		},
		"open": {
			func(cfg *webui.Config) { cfg.MetricsOpen = true },
			map[string]int{"none": ok, "elsewhere": forbidden, "proxy": forbidden},
			map[string]int{"none": ok, "elsewhere": ok, "proxy": ok, "wrong": ok},
			nil,
		},
		"open beside users": {
			func(cfg *webui.Config) { cfg.MetricsOpen, cfg.Credentials = true, credentials(t) },
			map[string]int{"none": unauthorized, "viewer": ok},
			map[string]int{"none": ok, "elsewhere": ok, "viewer": ok},
			[]string{basicChallenge},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := webui.Config{Pool: iutest.New(t).Pool, Metrics: served, Logger: slog.New(slog.DiscardHandler)}
			test.configure(&cfg)
			pages, err := webui.New(cfg)
			require.NoError(t, err)
			t.Cleanup(pages.Stop)
			apart, err := webui.NewMetrics(cfg)
			require.NoError(t, err)
			for request, status := range test.pages {
				w := serve(pages, http.MethodGet, "/metrics", nil, requests[request])
				require.Equal(t, status, w.Code, "beside the pages: %s", request)
				if request == "none" && status == unauthorized {
					require.Equal(t, test.challenges, w.Header().Values("WWW-Authenticate"))
				}
			}
			for request, status := range test.apart {
				require.Equal(t, status, serve(apart, http.MethodGet, "/metrics", nil, requests[request]).Code, "apart: %s", request)
			}
			require.Equal(t, http.StatusNotFound, serve(apart, http.MethodGet, "/", nil, asViewer).Code, "nothing else is there")
		})
	}
}

// A token of the metrics opens neither the pages nor the events, and a token of the events does not open the metrics.
func TestATokenOfTheMetricsIsForTheMetricsAlone(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, func(cfg *webui.Config) {
		cfg.Metrics, cfg.Events, cfg.Credentials, cfg.BasePath = served, served, credentials(t), "/iu"
		var err error
		cfg.MetricsTokens, err = webui.ParseTokens(oldToken)
		require.NoError(t, err)
		cfg.EventsTokens, err = webui.ParseTokens(newToken)
		require.NoError(t, err)
	})
	for path, status := range map[string]int{
		"/iu/metrics": http.StatusOK, "/iu/": http.StatusUnauthorized, "/iu/audit": http.StatusUnauthorized,
		"/iu/riverui/api/jobs": http.StatusUnauthorized, "/iu/v1/events": http.StatusUnauthorized, "/metrics": http.StatusUnauthorized,
		"/iu/metrics/": http.StatusUnauthorized,
	} {
		require.Equal(t, status, serve(handler, http.MethodGet, path, nil, bearer(oldToken)).Code, path)
	}
	require.Equal(t, http.StatusUnauthorized, serve(handler, http.MethodGet, "/iu/metrics", nil, bearer(newToken)).Code)
	require.Equal(t, http.StatusMethodNotAllowed, serve(handler, http.MethodPost, "/iu/metrics", nil, bearer(oldToken)).Code)
}

// A token that was rotated is valid as soon as its file is read again, and the old one is not. A wrong one is logged and not quoted.
func TestTokensOfTheMetricsAreReadAgain(t *testing.T) {
	t.Parallel()
	path := writeCredentials(t, oldToken, 0o600)
	read, err := webui.ReadTokens(path)
	require.NoError(t, err)
	var log bytes.Buffer
	handler, err := webui.NewPublisher(webui.Config{
		Pool: iutest.New(t).Pool, Metrics: served, MetricsTokens: read, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	scrape := func(token string) int { return serve(handler, http.MethodGet, "/metrics", nil, bearer(token)).Code }
	require.Equal(t, http.StatusOK, scrape(oldToken))
	require.NoError(t, os.WriteFile(path, []byte(newToken), 0o600))
	iutest.Eventually(t, func() bool { return scrape(newToken) == http.StatusOK }, time.Minute)
	require.Equal(t, http.StatusUnauthorized, scrape(oldToken))
	require.Contains(t, log.String(), "Metrics: wrong token")
	require.NotContains(t, log.String(), oldToken)
}

// With tokens, or if they are open by choice, the metrics are served to other machines; the pages never are without users.
func TestMetricsForOtherMachines(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	db := iutest.New(t)
	cfg := webui.Config{Pool: db.Pool, Metrics: served, MetricsOpen: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	listen := func(handler *webui.Handler, err error) error {
		require.NoError(t, err)
		t.Cleanup(handler.Stop)
		server, err := webui.Listen(t.Context(), "0.0.0.0:0", handler)
		if err == nil {
			require.NoError(t, server.Close())
		}
		return err
	}
	require.NoError(t, listen(webui.NewMetrics(cfg)))
	require.Contains(t, log.String(), "Metrics: everybody who reaches this address can read the metrics (--metrics-open)")
	require.ErrorContains(t, listen(webui.New(cfg)), "refusing to serve the pages on 0.0.0.0:0 without credentials")
	cfg.MetricsOpen, cfg.MetricsTokens = false, tokens(t)
	require.NoError(t, listen(webui.NewMetrics(cfg)))
	require.NoError(t, listen(webui.NewPublisher(cfg)))
	require.ErrorContains(t, listen(webui.New(cfg)), "refusing to serve the pages on 0.0.0.0:0 without credentials")
	cfg.MetricsTokens = nil
	require.ErrorContains(t, listen(webui.NewPublisher(cfg)), "refusing to serve the metrics on 0.0.0.0:0 without credentials")
}
