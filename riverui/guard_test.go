package webui_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	webui "github.com/iu-core/iuworker/riverui"
)

const (
	viewerPassword   = "only: looking"
	operatorPassword = "may change"
)

// as signs a request in.
func as(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func asViewer(r *http.Request)   { as("vera", viewerPassword)(r) }
func asOperator(r *http.Request) { as("otto", operatorPassword)(r) }

func with(key, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(key, value) }
}

func credentials(t *testing.T) *webui.Credentials {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(operatorPassword), bcrypt.MinCost)
	require.NoError(t, err)
	c, err := webui.ParseCredentials("viewer:vera:" + viewerPassword + "\r\n\noperator:otto:" + string(hash))
	require.NoError(t, err)
	return c
}

func TestCredentialsAreAskedForEverywhereButByProbes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	handler, _ := newHandler(t, func(cfg *webui.Config) {
		cfg.Credentials = credentials(t)
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		cfg.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached without credentials") })
		cfg.Events = cfg.Metrics
	})
	for _, path := range []string{"/", "/assets/page.css", "/riverui/", "/riverui/api/jobs", "/metrics", "/v1/events", "/nowhere"} {
		for name, change := range map[string]func(*http.Request){
			"none":            func(*http.Request) {},
			"wrong password":  as("vera", operatorPassword),
			"wrong hash":      as("otto", viewerPassword),
			"unknown user":    as("", ""),
			"another scheme":  with("Authorization", "Bearer "+viewerPassword),
			"no base64":       with("Authorization", "Basic "+viewerPassword),
			"no colon":        with("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("vera"))),
			"password as one": as("vera:only", "looking"),
		} {
			w := serve(handler, http.MethodGet, path, nil, change)
			require.Equal(t, http.StatusUnauthorized, w.Code, "%s %s", path, name)
			require.Contains(t, w.Header().Get("WWW-Authenticate"), "Basic realm=")
		}
	}
	require.NotContains(t, log.String(), "looking")
	require.NotContains(t, log.String(), operatorPassword)
	for _, path := range []string{"/healthz", "/readyz"} {
		require.Equal(t, http.StatusOK, serve(handler, http.MethodGet, path, nil).Code)
	}
	for range 2 { // the second time, the hash is known to be right
		require.Equal(t, http.StatusOK, serve(handler, http.MethodGet, "/", nil, asViewer).Code)
		require.Equal(t, http.StatusOK, serve(handler, http.MethodGet, "/", nil, asOperator).Code)
		require.Equal(t, http.StatusUnauthorized, serve(handler, http.MethodGet, "/", nil, as("otto", viewerPassword)).Code)
	}
}

// riverChanges are all requests by which River UI changes something.
var riverChanges = [][2]string{
	{http.MethodPost, "/riverui/api/jobs/cancel"},
	{http.MethodPost, "/riverui/api/jobs/delete"},
	{http.MethodPost, "/riverui/api/jobs/retry"},
	{http.MethodPut, "/riverui/api/queues/events/pause"},
	{http.MethodPut, "/riverui/api/queues/events/resume"},
	{http.MethodPatch, "/riverui/api/queues/events"},
}

func TestWhoMayNotChangeAnythingChangesNothing(t *testing.T) {
	t.Parallel()
	handler, db := newHandler(t, func(cfg *webui.Config) { cfg.Credentials = credentials(t) })
	for _, change := range riverChanges {
		method, path := change[0], change[1]
		for name, try := range map[string]struct {
			change []func(*http.Request)
			status int
		}{
			"viewer":                    {[]func(*http.Request){asViewer}, http.StatusForbidden},
			"nobody":                    {nil, http.StatusUnauthorized},
			"cross-origin":              {[]func(*http.Request){asOperator, with("Sec-Fetch-Site", "cross-site")}, http.StatusForbidden},
			"same site":                 {[]func(*http.Request){asOperator, with("Sec-Fetch-Site", "same-site")}, http.StatusForbidden},
			"cross-origin, old browser": {[]func(*http.Request){asOperator, with("Origin", "http://evil.example")}, http.StatusForbidden},
		} {
			w := serve(handler, method, path, strings.NewReader(`{"ids": ["1"]}`), try.change...)
			require.Equal(t, try.status, w.Code, "%s %s %s", method, path, name)
			require.Contains(t, w.Body.String(), `"message":`)
		}
	}
	var lines int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.audit").Scan(&lines))
	require.Zero(t, lines)
}

func TestWithoutCredentialsOnlyThisMachinesNamesAreAnswered(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, nil)
	for host, status := range map[string]int{
		"localhost:8080": http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:1": http.StatusOK, "LOCALHOST.": http.StatusOK,
		"evil.example:8080": http.StatusForbidden, "localhost.evil.example": http.StatusForbidden,
		"127.0.0.1.evil.example": http.StatusForbidden, "": http.StatusForbidden, "192.168.1.2": http.StatusForbidden,
	} {
		w := serve(handler, http.MethodGet, "/", nil, func(r *http.Request) { r.Host = host })
		require.Equal(t, status, w.Code, host)
	}
	page := serve(handler, http.MethodGet, "/", nil, with("Accept", "text/html"), func(r *http.Request) { r.Host = "evil.example" })
	require.Contains(t, page.Header().Get("Content-Type"), "text/html")
	require.Contains(t, page.Body.String(), "this machine&#39;s own names alone")
}
