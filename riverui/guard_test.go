package webui_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net"
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

// as adds credentials to a request.
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

func TestCredentialsAreRequiredEverywhereButByProbes(t *testing.T) {
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
	for range 2 { // the second time, the match of password and hash is cached
		require.Equal(t, http.StatusOK, serve(handler, http.MethodGet, "/", nil, asViewer).Code)
		require.Equal(t, http.StatusOK, serve(handler, http.MethodGet, "/", nil, asOperator).Code)
		require.Equal(t, http.StatusUnauthorized, serve(handler, http.MethodGet, "/", nil, as("otto", viewerPassword)).Code)
	}
}

// riverChanges lists all requests with which River UI changes something.
var riverChanges = [][2]string{
	{http.MethodPost, "/riverui/api/jobs/cancel"},
	{http.MethodPost, "/riverui/api/jobs/delete"},
	{http.MethodPost, "/riverui/api/jobs/retry"},
	{http.MethodPut, "/riverui/api/queues/events/pause"},
	{http.MethodPut, "/riverui/api/queues/events/resume"},
	{http.MethodPatch, "/riverui/api/queues/events"},
}

func TestRefusedRequestsChangeNothing(t *testing.T) {
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

func TestWithoutCredentialsOnlyThisMachinesNamesAreServed(t *testing.T) {
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
	require.Contains(t, page.Body.String(), "only under this machine&#39;s own names")
}

// cameTo sets the port of this machine at which a request arrived.
func cameTo(port int) func(*http.Request) {
	return func(r *http.Request) {
		*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}))
	}
}

// Requests through a proxy on this machine come from a loopback address. Only headers of proxies and browsers reveal the proxy.
func TestWithoutCredentialsProxiesAreRefused(t *testing.T) {
	t.Parallel()
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	open := func(cfg *webui.Config) { cfg.Metrics, cfg.Events = pages, pages }
	handler, db := newHandler(t, open)
	metrics, err := webui.NewMetrics(webui.Config{Pool: db.Pool, Metrics: pages})
	require.NoError(t, err)
	closing := func(r *http.Request) { r.Close = true }
	refused := map[string]func(*http.Request){
		"http/1.0":        func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 1, 0 },
		"another origin":  with("Origin", "https://ops.example.org"),
		"another referer": with("Referer", "https://ops.example.org/gates/composer"),
		"https proxy":     together(with("Sec-Fetch-Site", "same-origin"), with("Referer", "https://ops.example.org/")),
		"odd referer":     with("Referer", "about:"),
		"another port":    cameTo(8081),
		"no port":         together(cameTo(8080), func(r *http.Request) { r.Host = "localhost" }),
	}
	for _, name := range []string{
		"Forwarded", "X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Anything",
		"X-Real-IP", "Via", "X-Original-URL", "X-Original-Host", "X-Original-Forwarded-For", "CF-Connecting-IP", "CF-Ray", "True-Client-IP",
		"X-Client-IP", "X-Cluster-Client-IP", "X-Envoy-External-Address", "X-ARR-SSL", "Fly-Client-IP", "Fastly-Client-IP", "X-Amzn-Trace-Id",
		"CDN-Loop", "X-Forward-For", "Tailscale-User-Login", "Remote-User", "X-Remote-User",
	} {
		refused[name] = with(name, "")
	}
	for name, change := range refused {
		for _, path := range []string{"/", "/audit", "/assets/page.css", "/riverui/", "/riverui/api/jobs", "/metrics", "/v1/events", "/nowhere"} {
			w := serve(handler, http.MethodGet, path, nil, change)
			require.Equal(t, http.StatusForbidden, w.Code, "%s %s", name, path)
			require.Contains(t, w.Body.String(), "behind a proxy, start iuworker with --http-credentials-file", "%s %s", name, path)
		}
		for _, path := range []string{"/gates/composer", "/dead-letters/retry", "/dead-letters/drop", "/rollback"} {
			require.Equal(t, http.StatusForbidden, serve(handler, http.MethodPost, path, nil, change).Code, "%s %s", name, path)
		}
		for _, c := range riverChanges {
			require.Equal(t, http.StatusForbidden, serve(handler, c[0], c[1], strings.NewReader(`{"ids": ["1"]}`), change).Code, "%s %s", name, c[1])
		}
		require.Equal(t, http.StatusForbidden, serve(metrics, http.MethodGet, "/metrics", nil, change).Code, name)
		for _, path := range []string{"/healthz", "/readyz"} {
			require.Equal(t, http.StatusOK, serve(handler, http.MethodGet, path, nil, change).Code, "%s %s", name, path)
			require.Equal(t, http.StatusOK, serve(metrics, http.MethodGet, path, nil, change).Code, "%s %s", name, path)
		}
	}
	require.Equal(t, http.StatusForbidden, serve(handler, http.MethodPost, "/gates/composer", nil, closing).Code)
	var lines int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.audit").Scan(&lines))
	require.Zero(t, lines)

	for name, change := range map[string]func(*http.Request){
		"curl":            nothing,
		"an old library":  closing,
		"a typed URL":     with("Sec-Fetch-Site", "none"),
		"our own page":    together(with("Sec-Fetch-Site", "same-origin"), with("Referer", "http://127.0.0.1:8080/"), with("Origin", "http://127.0.0.1:8080")),
		"by another name": with("Referer", "http://localhost:8080/"),
		"a link":          together(with("Sec-Fetch-Site", "cross-site"), with("Referer", "http://wiki.example.org/")),
		"no origin":       with("Origin", "null"),
		"our port":        cameTo(8080),
	} {
		for _, path := range []string{"/", "/riverui/", "/metrics"} {
			require.Equal(t, http.StatusOK, serve(handler, http.MethodGet, path, nil, change).Code, "%s %s", name, path)
		}
	}
	closed := serve(handler, http.MethodPost, "/gates/composer", strings.NewReader("to=open"), with("Content-Type", "application/x-www-form-urlencoded"),
		with("Sec-Fetch-Site", "same-origin"), with("Origin", "http://127.0.0.1:8080"), with("Referer", "http://127.0.0.1:8080/gates/composer"))
	require.NotEqual(t, http.StatusForbidden, closed.Code, closed.Body)

	asked := handlerOn(t, db, func(cfg *webui.Config) { open(cfg); cfg.Credentials = credentials(t) })
	tokened := handlerOn(t, db, func(cfg *webui.Config) { open(cfg); cfg.EventsTokens = tokens(t) })
	for name, change := range refused {
		if !strings.Contains(name, " ") {
			require.Equal(t, http.StatusOK, serve(asked, http.MethodGet, "/", nil, asViewer, change).Code, name)
			require.Equal(t, http.StatusOK, serve(tokened, http.MethodGet, "/v1/events", nil, bearer(newToken), change).Code, name)
			require.Equal(t, http.StatusUnauthorized, serve(tokened, http.MethodGet, "/v1/events", nil, change).Code, name)
			require.Equal(t, http.StatusForbidden, serve(tokened, http.MethodGet, "/", nil, bearer(newToken), change).Code, name)
		}
	}
}
