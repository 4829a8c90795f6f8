//go:build clients

package main

import (
	"bufio"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/proxytest"
)

// outside is a browser on another machine. Its requests go to a proxy. It does not decompress responses.
type outside struct {
	t           testing.TB
	proxy, host string
	user        string // "": none
	client      *http.Client
}

func newOutside(t testing.TB, proxy, user string) outside {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return outside{t: t, proxy: proxy, host: "ops.example.org", user: user, client: &http.Client{
		Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (o outside) at(host string) outside { o.host = host; return o }

func (o outside) ask(method, path, body string, headers ...string) heard {
	o.t.Helper()
	request, err := http.NewRequestWithContext(o.t.Context(), method, "http://"+o.proxy+path, strings.NewReader(body))
	require.NoError(o.t, err)
	request.Host = o.host
	request.Header.Set("Accept-Encoding", "gzip")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	if o.user != "" {
		request.SetBasicAuth(o.user, secret)
	}
	response, err := o.client.Do(request)
	require.NoError(o.t, err)
	o.t.Cleanup(func() { _ = response.Body.Close() }) // it was read, or does not matter
	return heard{response.StatusCode, response.Header, response.Body}
}

// heard is a response, whose body is closed when the test ends.
type heard struct {
	status int
	header http.Header
	body   io.Reader
}

// plain returns the text of a response. The proxy may have compressed it: nginx ignores no-transform.
func (h heard) plain(t testing.TB) io.Reader {
	t.Helper()
	if h.header.Get("Content-Encoding") != "gzip" {
		return h.body
	}
	text, err := gzip.NewReader(h.body)
	require.NoError(t, err)
	return text
}

// closeGate sends the request of the button that closes a gate.
func (o outside) closeGate() int {
	o.t.Helper()
	return o.ask(http.MethodPost, "/gates/composer", "to=close", "Content-Type", "application/x-www-form-urlencoded",
		"Origin", "http://"+o.host, "Sec-Fetch-Site", "same-origin", "Referer", "http://"+o.host+"/gates/composer").status
}

func isOpen(t testing.TB, db *iutest.DB, gate string) (open bool) {
	t.Helper()
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT open FROM iu_outbox.gate_status() WHERE gate = $1", gate).Scan(&open))
	return open
}

// Without credentials, a proxy on the worker's machine does not give access to other machines, whether it is configured with only
// the worker's address or as the document says.
func TestProxiesWithoutCredentialsAreRefused(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	pages, _, _ := working(t, db)
	worker := strings.TrimSuffix(strings.TrimPrefix(pages, "http://"), "/")
	for name, proxy := range map[string]string{
		"nginx": proxytest.DefaultNginx(t, worker), "haproxy": proxytest.DefaultHaproxy(t, worker),
		"nginx as documented": documented(t).Nginx(t, worker), "haproxy as documented": documented(t).Haproxy(t, worker),
	} {
		for _, host := range []string{"ops.example.org", proxy} { // by its name, and by its own address
			from := newOutside(t, proxy, "").at(host)
			require.Equal(t, http.StatusForbidden, from.closeGate(), "%s %s", name, host)
			require.Equal(t, http.StatusForbidden, from.ask(http.MethodPost, "/gates/composer", "to=close",
				"Content-Type", "application/x-www-form-urlencoded").status, "%s %s", name, host)
			for _, path := range []string{"/", "/audit", "/events", "/riverui/", "/riverui/api/jobs", "/metrics", "/v1/events"} {
				require.Equal(t, http.StatusForbidden, from.ask(http.MethodGet, path, "").status, "%s %s %s", name, host, path)
			}
			require.Equal(t, http.StatusOK, from.ask(http.MethodGet, "/readyz", "").status, "%s %s", name, host)
		}
	}
	require.True(t, isOpen(t, db, "composer"))
	require.Equal(t, http.StatusOK, get(t, pages))
	require.Equal(t, http.StatusSeeOther, newOutside(t, worker, "").at(worker).closeGate(), "on the machine itself")
	require.False(t, isOpen(t, db, "composer"))
}

// With credentials and the document's configuration, everything works and events arrive at once.
func TestProxiesAsDocumentedServeEverything(t *testing.T) {
	t.Parallel()
	for name, proxy := range map[string]func(proxytest.Documented, testing.TB, string) string{
		"nginx": proxytest.Documented.Nginx, "haproxy": proxytest.Documented.Haproxy,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "letter", 1)
			worker := serveEvents(t, db)
			address := proxy(documented(t), t, worker.address)
			ann := newOutside(t, address, "ann")

			require.Equal(t, http.StatusUnauthorized, newOutside(t, address, "").ask(http.MethodGet, "/", "").status)
			page := ann.ask(http.MethodGet, "/", "")
			require.Equal(t, http.StatusOK, page.status)
			require.Equal(t, "gzip", page.header.Get("Content-Encoding"), "the proxy compresses")
			html, err := io.ReadAll(page.plain(t))
			require.NoError(t, err)
			require.Contains(t, string(html), "<html")
			for _, path := range []string{"/riverui/", "/riverui/api/jobs", "/metrics"} {
				require.Equal(t, http.StatusOK, ann.ask(http.MethodGet, path, "").status, path)
			}

			for _, path := range []string{"/v1/events", "/audit"} {
				stream := ann.ask(http.MethodGet, path, "", "Accept", "text/event-stream")
				require.Equal(t, http.StatusOK, stream.status)
				body := stream.plain(t)
				lines := make(chan string, 1000)
				go func() {
					for scanner := bufio.NewScanner(body); scanner.Scan(); {
						lines <- scanner.Text()
					}
				}()
				// The event arrives long before a heartbeat would flush it.
				within := time.After(10 * time.Second)
				until := func(part string) {
					for {
						select {
						case line := <-lines:
							if strings.Contains(line, part) {
								return
							}
						case <-within:
							require.FailNow(t, "it was held back", "%s: %s", path, part)
						}
					}
				}
				if path == "/audit" { // every page is followed like this
					until("data: ")
					continue
				}
				until("event: cursor")
				announce(t, db, template, "a")
				within = time.After(10 * time.Second)
				until("tpl-inst:auto:a")
			}

			require.Equal(t, http.StatusSeeOther, ann.closeGate())
			require.False(t, isOpen(t, db, "composer"))
			foreign := ann.ask(http.MethodPost, "/gates/composer", "to=open", "Content-Type", "application/x-www-form-urlencoded",
				"Origin", "http://evil.example.org", "Sec-Fetch-Site", "cross-site")
			require.Equal(t, http.StatusForbidden, foreign.status)

			worker.end(t, syscall.SIGKILL)
			require.GreaterOrEqual(t, ann.ask(http.MethodGet, "/", "").status, http.StatusBadGateway)
			away := ann.ask(http.MethodGet, "/v1/events", "", "Accept", "text/event-stream")
			require.Equal(t, http.StatusOK, away.status)
			require.Equal(t, "text/event-stream", away.header.Get("Content-Type"))
			require.Equal(t, "no-store, no-transform", away.header.Get("Cache-Control"))
			said, err := io.ReadAll(away.plain(t))
			require.NoError(t, err)
			require.Equal(t, "retry: 3000\n\n", strings.ReplaceAll(string(said), "\r", ""))
		})
	}
}
