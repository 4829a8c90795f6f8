//go:build clients

package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/proxytest"
)

// installClients installs the packages of testdata/clients for a test, and returns their directory.
func installClients(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "clients"))))
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--silent")
	install.Dir = dir
	said, err := install.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return dir
}

var eventSources = []string{"eventsource-3", "eventsource-4", "launchdarkly-eventsource", "undici"}

// ways lists how clients can reach a worker.
var ways = map[string]func(t testing.TB, worker string) (address string){
	"direct":  func(_ testing.TB, worker string) string { return worker },
	"nginx":   func(t testing.TB, worker string) string { return documented(t).Nginx(t, worker) },
	"haproxy": func(t testing.TB, worker string) string { return documented(t).Haproxy(t, worker) },
}

func documented(t testing.TB) proxytest.Documented {
	t.Helper()
	return proxytest.Read(t, filepath.Join("..", "..", "docs", "deploy.md"))
}

const eventsToken = "the-token-of-the-clients-0123456789"

// served is a worker that keeps its address when it is restarted.
type served struct {
	*program

	address string
	start   func()
}

func serveEvents(t testing.TB, db *iutest.DB, args ...string) *served {
	t.Helper()
	dir := t.TempDir()
	tokens, users := filepath.Join(dir, "tokens"), filepath.Join(dir, "users")
	require.NoError(t, os.WriteFile(tokens, []byte(eventsToken+"\n"), 0o600))
	require.NoError(t, os.WriteFile(users, []byte("operator:ann:"+secret+"\n"), 0o600))
	s := &served{address: proxytest.FreeAddress(t)}
	s.start = func() {
		s.program = start(t, db, append([]string{
			"work", "--http-addr", s.address, "--events-token-file", tokens, "--http-credentials-file", users, "--shutdown-timeout", "5s",
		}, args...)...)
		s.errOut.await(t, `"Worker: ready"`)
	}
	s.start()
	return s
}

// end sends a signal to the worker, and waits until it has ended.
func (s *served) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	s.signal(t, signal)
	<-s.ended //nolint:errcheck // it may have been killed
}

// eventSource is a process that follows the events with one of the clients in eventSources.
type eventSource struct {
	name        string
	out, errOut *buffer
	stop        func()
}

func startEventSources(t testing.TB, dir, address, query string) (all []*eventSource) {
	t.Helper()
	for _, name := range eventSources {
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		node := exec.CommandContext(ctx, "node", "follow.mjs", name, "http://"+address+"/v1/events"+query, eventsToken)
		node.Dir = dir
		c := &eventSource{name: name, out: newBuffer(), errOut: newBuffer()}
		node.Stdout, node.Stderr = c.out, c.errOut
		require.NoError(t, node.Start())
		ended := make(chan struct{})
		go func() { _ = node.Wait(); close(ended) }() // stop kills it
		c.stop = func() { stop(); <-ended }
		t.Cleanup(c.stop)
		all = append(all, c)
	}
	return all
}

// interruptions returns how often the client lost its stream or got none.
func (c *eventSource) interruptions() int {
	said := c.out.String()
	return strings.Count(said, "error\n") + strings.Count(said, "end\n")
}

// inVain waits until the client was interrupted n times.
func (c *eventSource) inVain(t testing.TB, n int) {
	t.Helper()
	iutest.Eventually(t, func() bool { return c.interruptions() >= n }, patience, "%s: %s%s", c.name, c.out, c.errOut)
}

// fillUp opens n streams, which stay open until end is called.
func fillUp(t testing.TB, address string, n int) (end func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	for range n {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/events", nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+eventsToken)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		t.Cleanup(func() { _ = response.Body.Close() }) // it was cut off
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
	return end
}

// got waits until all clients have the last event, and requires that each has received all events in order, at least once.
func got(t testing.TB, all []*eventSource, suffixes []string) {
	t.Helper()
	for _, c := range all {
		last := "tpl-inst:auto:" + suffixes[len(suffixes)-1] + "\n"
		iutest.Eventually(t, func() bool { return strings.Contains(c.out.String(), last) }, patience,
			"%s waits for %s: %s%s", c.name, last, c.out, c.errOut)
		seen := map[string]bool{}
		var subjects []string
		for line := range strings.Lines(c.out.String()) {
			words := strings.Fields(line)
			if words[0] == "event" && !seen[words[1]] {
				seen[words[1]] = true
				subjects = append(subjects, strings.TrimPrefix(words[2], "tpl-inst:auto:"))
			}
		}
		require.Equal(t, suffixes, subjects, "%s: %s", c.name, c.out)
	}
}

// Clients without a cursor miss no event while their worker is restarted. It makes no difference whether they have received an event
// before, whether the worker stops or is killed, and which proxy responds in its place.
func TestEventSourcesMissNothingWhenTheWorkerIsRestarted(t *testing.T) {
	t.Parallel()
	packages := installClients(t)
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "letter", 1)
			announce(t, db, template, "before-they-came")
			worker := serveEvents(t, db)
			clients := startEventSources(t, packages, way(t, worker.address), "")
			for _, c := range clients {
				c.out.await(t, "cursor")
			}

			worker.end(t, syscall.SIGTERM)
			announce(t, db, template, "a1", "a2", "a3")
			worker.start()
			got(t, clients, []string{"a1", "a2", "a3"})

			announce(t, db, template, "b1")
			got(t, clients, []string{"a1", "a2", "a3", "b1"})
			worker.end(t, syscall.SIGKILL)
			for _, c := range clients {
				c.inVain(t, 3) // two losses, and a try after the second
			}
			announce(t, db, template, "b2", "b3")
			worker.start()
			got(t, clients, []string{"a1", "a2", "a3", "b1", "b2", "b3"})
		})
	}
}

// A client that cannot be served, because the database is down or there are too many clients, reconnects by itself.
func TestEventSourcesComeAgainUntilTheyAreServed(t *testing.T) {
	t.Parallel()
	packages := installClients(t)
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "letter", 1)
			announce(t, db, template, "1", "2")
			at, err := url.Parse(db.URL)
			require.NoError(t, err)
			database := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), t.Name(), "127.0.0.1:0", at.Host)
			require.NoError(t, database.Start())
			t.Cleanup(database.Stop)
			at.Host = database.Listen
			worker := serveEvents(t, &iutest.DB{Name: db.Name, URL: at.String(), Pool: db.Pool}, "--events-max-connections", "4")
			address := way(t, worker.address)

			full := fillUp(t, worker.address, 4)
			clients := startEventSources(t, packages, address, "?from=beginning")
			for _, c := range clients {
				c.inVain(t, 1)
			}
			full()
			got(t, clients, []string{"1", "2"})
			for _, c := range clients {
				c.stop()
			}

			database.Stop()
			others := startEventSources(t, packages, address, "?from=beginning")
			for _, c := range others {
				c.inVain(t, 1)
			}
			announce(t, db, template, "3")
			require.NoError(t, database.Start())
			got(t, others, []string{"1", "2", "3"})
			for _, c := range append(clients, others...) {
				require.NotContains(t, c.out.String(), "closed", c.name)
			}
		})
	}
}
