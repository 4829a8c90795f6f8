package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// A worker is alive without a database, and ready with one.
func TestHealthcheckAsksTheWorker(t *testing.T) {
	t.Parallel()
	pages, _, stop := working(t, iutest.New(t))
	addr := strings.TrimSuffix(strings.TrimPrefix(pages, "http://"), "/")
	env := environment{"IUWORKER_HTTP_ADDR": addr}
	require.Equal(t, "http://"+addr+"/healthz: alive\n", run(t, env, "healthcheck").done(t).out)
	ready := func(env environment, args ...string) (r result) {
		iutest.Eventually(t, func() bool { // a busy database may reply too late
			r = run(t, env, append([]string{"healthcheck", "--ready"}, args...)...)
			return r.code == exitDone
		}, patience)
		return r.done(t)
	}
	require.Equal(t, "http://"+addr+"/readyz: ready\n", ready(nil, "--http-addr", addr).out)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	for _, all := range []string{":", "0.0.0.0:"} { // what a container listens on
		run(t, environment{"IUWORKER_HTTP_ADDR": all + port}, "healthcheck").done(t)
	}
	require.Equal(t, health{URL: "http://" + addr + "/readyz", State: "ready"},
		decode[health](t, ready(env, "--json")))
	require.Equal(t, exitDone, stop())
	run(t, env, "healthcheck").failed(t, exitFailed, "not alive: "+addr+": connect: connection refused; check that iuworker runs there")
}

func TestHealthcheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	var reply, path string
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(reply)) // the client reads all of it
	}))
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	reply = `{"ready": false, "reason": "the schema is missing;\n run: iuworker migrate up"}`
	run(t, nil, "healthcheck", "--ready", "--http-addr", addr).failed(t, exitFailed,
		"iuworker: not ready: http://"+addr+"/readyz returned 503: the schema is missing; run: iuworker migrate up")
	require.Equal(t, "/readyz", path)
	reply = "<html>"
	run(t, nil, "healthcheck", "--http-addr", addr).failed(t, exitFailed,
		"not alive: http://"+addr+"/healthz returned 503; check that iuworker listens there")
	status = http.StatusMovedPermanently
	run(t, nil, "healthcheck", "--http-addr", addr).failed(t, exitFailed, "returned 301")
	require.Equal(t, "/healthz", path, "the redirect was not followed")
}

func TestHealthcheckRefusesAddressesWithoutAProbe(t *testing.T) {
	t.Parallel()
	for addr, says := range map[string]string{
		"off":         "--http-addr is off: that process serves no probe; see: iuworker healthcheck --help",
		"127.0.0.1:0": "--http-addr has port 0",
		"nonsense":    "it must be host:port",
	} {
		run(t, nil, "healthcheck", "--http-addr", addr).failed(t, exitUsage, says)
	}
	for addr, target := range map[string]string{"": "127.0.0.1:8080", "[::]:80": "[::1]:80", "worker:80": "worker:80", "10.1.2.3:80": "10.1.2.3:80"} {
		got, err := probeTarget((&app{}).healthcheckCommand(), addr)
		require.NoError(t, err)
		require.Equal(t, target, got)
	}
}
