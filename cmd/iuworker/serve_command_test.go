package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
)

// servant is a running iuworker serve.
type servant struct {
	url  string
	log  *buffer
	stop func() int
}

// serving starts iuworker serve and waits until it is ready.
func serving(t testing.TB, env environment, args ...string) *servant {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &servant{log: newBuffer()}
	ended := make(chan int, 1)
	args = append([]string{"serve", "--http-addr", "127.0.0.1:0"}, args...)
	go func() { ended <- Run(ctx, args, func(name string) string { return env[name] }, newBuffer(), s.log) }()
	var code *int
	s.stop = func() int {
		cancel()
		if code == nil {
			c := <-ended
			code = &c
		}
		return *code
	}
	t.Cleanup(func() { s.stop() })
	s.log.await(t, `"Server: ready"`)
	found := regexp.MustCompile(`"url":"(http://[^"]+)"`).FindStringSubmatch(s.log.String())
	require.NotNil(t, found, s.log.String())
	s.url = found[1]
	return s
}

// balancer sends each request to the next of its servers.
type balancer struct {
	*httptest.Server

	targets []*url.URL
	next    atomic.Int64
	down    atomic.Int64 // the number of a target that gets no requests; -1: none
}

func balance(t *testing.T, servers ...*servant) *balancer {
	t.Helper()
	b := &balancer{}
	b.down.Store(-1)
	for _, s := range servers {
		target, err := url.Parse(s.url)
		require.NoError(t, err)
		b.targets = append(b.targets, target)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		n := b.next.Add(1) % int64(len(b.targets))
		if n == b.down.Load() {
			n = (n + 1) % int64(len(b.targets))
		}
		r.SetURL(b.targets[n])
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	b.Server = httptest.NewServer(proxy)
	t.Cleanup(b.Close)
	return b
}

// browser is a client that is signed in, keeps cookies, and says from which site its forms come.
type browser struct {
	http.Client

	t    *testing.T
	site string
}

const operatorLine = "operator:ann:only for this test"

func newBrowser(t *testing.T, site string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{Client: http.Client{Jar: jar}, t: t, site: site}
}

func (b *browser) do(method, path string, form url.Values, change ...func(*http.Request)) *http.Response {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.site+path, strings.NewReader(form.Encode()))
	require.NoError(b.t, err)
	request.SetBasicAuth("ann", "only for this test")
	request.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", b.site)
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	} else {
		request.Body, request.ContentLength = nil, 0
	}
	for _, c := range change {
		c(request)
	}
	response, err := b.Do(request)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// page returns a page, and requires that it is there. It is read again while the database takes too long to reply.
func (b *browser) page(method, path string, form url.Values) (page string) {
	b.t.Helper()
	var status int
	iutest.Eventually(b.t, func() bool {
		response := b.do(method, path, form) //nolint:bodyclose // do closes it
		text, err := io.ReadAll(response.Body)
		require.NoError(b.t, err)
		page, status = string(text), response.StatusCode
		return method != http.MethodGet || status != http.StatusServiceUnavailable
	}, patience, path)
	require.Equal(b.t, http.StatusOK, status, "%s %s: %s", method, path, page)
	return page
}

// whole waits until a page shows all of its parts: what takes the database too long is shown by the next page.
func (b *browser) whole(path string) {
	b.t.Helper()
	iutest.Eventually(b.t, func() bool { return !strings.Contains(b.page(http.MethodGet, path, nil), "Cannot be shown") }, patience, path)
}

// events follows a stream without a password, as an EventSource does: the cookie is all it has.
func (b *browser) events(lastID string) *bufio.Scanner {
	b.t.Helper()
	response := b.do(http.MethodGet, "/v1/events?from=beginning", nil, func(r *http.Request) { //nolint:bodyclose // do closes it
		r.Header.Del("Authorization")
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if lastID != "" {
			r.Header.Set("Last-Event-ID", lastID)
		}
	})
	require.Equal(b.t, http.StatusOK, response.StatusCode)
	return bufio.NewScanner(response.Body)
}

// subject reads up to the next event, and returns its key and its cursor; "" at the end of the stream.
func subject(t *testing.T, lines *bufio.Scanner) (key, cursor string) {
	t.Helper()
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		var event struct{ Subject, Cursor string }
		if found && json.Unmarshal([]byte(data), &event) == nil && event.Subject != "" {
			return event.Subject, event.Cursor
		}
	}
	return "", ""
}

func credentialsFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(file, []byte(operatorLine+"\n"), 0o600))
	return file
}

// pagePaths are the pages of a database with a template named letter.
var pagePaths = []string{
	"/", "/events", "/dead-letters", "/consumers", "/scaleouts", "/templates", "/templates/letter", "/workers", "/health", "/audit", "/rollback",
	"/settings", "/stream", "/trace",
}

// Two processes behind a load balancer that gives each request to the other one: pages, forms, streams and River UI work.
func TestServersBehindALoadBalancer(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 2)
	working(t, db)
	file := credentialsFile(t)
	first := serving(t, on(db), "--http-credentials-file", file)
	second := serving(t, on(db), "--http-credentials-file", file)
	site := balance(t, first, second)
	user := newBrowser(t, site.URL)

	for range 2 { // each process has read the pages before
		for _, path := range append(pagePaths, "/assets/page.js", "/metrics", "/riverui/", "/riverui/api/jobs?state=completed") {
			user.whole(path)
		}
	}
	// A change is on the next page, whichever process serves it. The form is from one process, and goes to the other.
	for _, gate := range []string{"composer", "auto-instantiate"} {
		for _, to := range []string{"open", "close", "open"} {
			require.Contains(t, user.page(http.MethodGet, "/gates/"+gate+"?to="+to, nil), `name="to" value="`+to+`"`)
			next := user.page(http.MethodPost, "/gates/"+gate, url.Values{"to": {to}})
			require.Contains(t, next, `<p class="done"`)
			shown := map[string]string{"open": "● open", "close": "○ closed"}[to]
			require.Contains(t, next, "<span>"+gate+"</span> <b>"+shown+"</b>")
		}
	}
	require.Contains(t, user.page(http.MethodGet, "/health?run=again", nil), "Health")

	// An EventSource has the cookie of one process, and is served by both, one after the other.
	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one").done(t)
	var last string
	for _, stream := range []*bufio.Scanner{user.events(""), user.events("")} {
		var key string
		key, last = subject(t, stream)
		require.Equal(t, "tpl-inst:auto:one", key)
	}
	for range 2 { // and from where it was
		again := user.events(last)
		run(t, on(db), "enqueue", "--template", "letter", "--suffix", "after-"+last).done(t)
		key, cursor := subject(t, again)
		require.Equal(t, "tpl-inst:auto:after-"+last, key)
		last = cursor
	}

	// One ends: its clients are told to reconnect, and are served by the other one.
	streams := []*bufio.Scanner{user.events(last), user.events(last)}
	site.down.Store(0)
	require.Equal(t, exitDone, first.stop(), first.log.String())
	ended := make(chan int, len(streams))
	for i, stream := range streams {
		go func() {
			for stream.Scan() {
			}
			ended <- i
		}()
	}
	select {
	case <-ended:
	case <-time.After(patience):
		require.FailNow(t, "no stream ended")
	}
	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "last").done(t)
	key, _ := subject(t, user.events(last))
	require.Equal(t, "tpl-inst:auto:last", key)
	require.Equal(t, exitDone, second.stop(), second.log.String())
}

// A server works on nothing: without a worker, events stay where they are.
func TestAServerDoesNotCompose(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	s := serving(t, on(db))
	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one").done(t)
	awaitStatus(t, s.url+"readyz", http.StatusOK)
	require.Equal(t, http.StatusOK, get(t, s.url+"healthz"))
	metrics := body(t, s.url+"metrics")
	require.Contains(t, metrics, `iuworker_event_streams_open{database="`+db.Name+`"} 0`)
	require.NotContains(t, metrics, "iuworker_outbox_rows")
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.event")
	require.Equal(t, exitDone, s.stop(), s.log.String())
	var n int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM iu_outbox.worker)
		+ (SELECT count(*) FROM iu_river.river_job) + (SELECT count(*) FROM iu_outbox.emission)`).Scan(&n))
	require.Zero(t, n)
}

// Pages and events come from the standby. Changes go to the primary, and what one page changed the next page shows.
func TestAServerReadsAStandby(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	standby, stopped := iutest.Standby(t, db, pgserver.StandbyConfig{})
	worker := environment{"IUWORKER_DATABASE_URL": db.URL}
	working(t, db)
	both := environment{"IUWORKER_DATABASE_URL": db.URL, "IUWORKER_READ_DATABASE_URL": standby.URL}
	s := serving(t, both, "--max-read-lag", "2s")
	user := newBrowser(t, strings.TrimSuffix(s.url, "/"))
	awaitJSON(t, s.url+"readyz", `{"ready": true}`)
	for _, path := range pagePaths {
		user.whole(path)
	}
	run(t, worker, "enqueue", "--template", "letter", "--suffix", "one").done(t)
	stream := user.events("")
	key, _ := subject(t, stream)
	require.Equal(t, "tpl-inst:auto:one", key)
	post := func(path string, form url.Values) string { return user.page(http.MethodPost, path, form) }
	require.Contains(t, post("/queues/events", url.Values{"to": {"pause"}}), "paused")
	require.Contains(t, post("/queues/events", url.Values{"to": {"resume"}}), `<p class="done"`)

	// The standby falls behind: pages and events come from the primary, and say so.
	standby.Exec(t, "SELECT pg_wal_replay_pause()")
	run(t, worker, "enqueue", "--template", "letter", "--suffix", "two").done(t)
	key, _ = subject(t, stream)
	require.Equal(t, "tpl-inst:auto:two", key, "it waited at most for --max-read-lag")
	iutest.Eventually(t, func() bool {
		return strings.Contains(body(t, s.url+"readyz"), "behind; reading from the primary")
	}, patience)
	require.Contains(t, user.page(http.MethodGet, "/events", nil), "these pages read the primary")
	require.Contains(t, body(t, s.url+"metrics"), `iuworker_standby_used{database="`+db.Name+`"} 0`)
	says := func(text string) func() bool {
		return func() bool { return strings.Contains(run(t, both, "doctor", "--json").out, text) }
	}
	iutest.Eventually(t, says("what it replayed last was committed"), patience)
	standby.Exec(t, "SELECT pg_wal_replay_resume()")
	awaitText(t, s.url+"metrics", `iuworker_standby_used{database="`+db.Name+`"} 1`)

	// The standby is away.
	require.NoError(t, stopped.Stop())
	iutest.Eventually(t, func() bool {
		return strings.Contains(user.page(http.MethodGet, "/audit", nil), "cannot be read since")
	}, patience)
	iutest.Eventually(t, says("the standby of --read-database-url cannot be read"), patience)
	run(t, worker, "enqueue", "--template", "letter", "--suffix", "three").done(t)
	key, _ = subject(t, stream)
	require.Equal(t, "tpl-inst:auto:three", key)
	awaitStatus(t, s.url+"readyz", http.StatusOK)
	require.Equal(t, exitDone, s.stop(), s.log.String())
}

// Without a limit, the pages stay on a standby that is behind, and say so.
func TestAServerThatReadsAStandbyHoweverFarBehind(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.Template(t, "letter", 1)
	standby, _ := iutest.Standby(t, db, pgserver.StandbyConfig{})
	s := serving(t, environment{"IUWORKER_DATABASE_URL": db.URL, "IUWORKER_READ_DATABASE_URL": standby.URL}, "--max-read-lag", "forever")
	user := newBrowser(t, strings.TrimSuffix(s.url, "/"))
	standby.Exec(t, "SELECT pg_wal_replay_pause()")
	standby.WaitFor(t, patience, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
	db.Template(t, "second", 1)
	iutest.Eventually(t, func() bool { // a standby that replies too late is not read until it replies again
		return !strings.Contains(user.page(http.MethodGet, "/templates", nil), "second")
	}, patience)
	require.Contains(t, user.page(http.MethodGet, "/templates/letter/unmark", nil), "letter")
	require.Contains(t, user.page(http.MethodPost, "/gates/composer", url.Values{"to": {"open"}}), "<span>composer</span> <b>● open</b>",
		"what is true now comes from the primary")
	iutest.Eventually(t, func() bool {
		return strings.Contains(user.page(http.MethodGet, "/templates", nil), "These pages read the standby")
	}, patience)
	warning := regexp.MustCompile(`"warning":"the standby is \S+ behind"`)
	iutest.Eventually(t, func() bool { return warning.MatchString(body(t, s.url+"readyz")) }, patience)
	standby.Exec(t, "SELECT pg_wal_replay_resume()")
	iutest.Eventually(t, func() bool {
		return strings.Contains(user.page(http.MethodGet, "/templates", nil), "second")
	}, patience)
}

// The primary is away: the standby still shows everything, and nothing can be changed.
func TestAServerWithoutItsPrimary(t *testing.T) {
	t.Parallel()
	db, primary := iutest.Own(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	standby, _ := iutest.Standby(t, db, pgserver.StandbyConfig{})
	both := environment{"IUWORKER_DATABASE_URL": db.URL, "IUWORKER_READ_DATABASE_URL": standby.URL}
	s := serving(t, both)
	user := newBrowser(t, strings.TrimSuffix(s.url, "/"))
	user.page(http.MethodGet, "/", nil)
	primary.Kill()
	iutest.Eventually(t, func() bool {
		return strings.Contains(user.page(http.MethodGet, "/templates", nil), "These pages read a standby, and nothing can be changed")
	}, patience)
	require.Contains(t, user.page(http.MethodGet, "/templates", nil), "letter")
	awaitStatus(t, s.url+"readyz", http.StatusOK)
	refused := user.do(http.MethodPost, "/queues/events", url.Values{"to": {"pause"}}) //nolint:bodyclose // do closes it
	require.Equal(t, http.StatusServiceUnavailable, refused.StatusCode)
	require.Equal(t, exitDone, s.stop(), s.log.String())
}

// Events are read from a standby, and the consumer's cursor is stored on the primary.
func TestSubscribeReadsAStandby(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	standby, _ := iutest.Standby(t, db, pgserver.StandbyConfig{})
	working(t, db)
	run(t, on(db), "scaleout", "--template", "letter", "--count", "3", "--prefix", "p", "--actor", "a").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 3 FROM iu_outbox.emission WHERE position IS NOT NULL") // the epoch begins with the first
	both := environment{"IUWORKER_DATABASE_URL": db.URL, "IUWORKER_READ_DATABASE_URL": standby.URL}
	read := run(t, both, "subscribe", "--consumer", "mail", "--limit", "3").done(t)
	require.Equal(t, 3, strings.Count(read.out, "\n"))
	db.WaitFor(t, patience, "SELECT position = 3 FROM iu_outbox.consumer WHERE name = 'mail'")
	polled := run(t, environment{"IUWORKER_DATABASE_URL": standby.URL}, "subscribe", "--after", "0", "--limit", "3").done(t)
	require.Equal(t, read.out, polled.out)
	run(t, both, "subscribe", "--after", "99").failed(t, exitFailed, "beyond the end of the history")
	run(t, both, "subscribe", "--read-database-url", "nonsense://x").failed(t, exitUsage, "--read-database-url")
}

// The role iu_operator is enough for all pages, and iu_subscriber for the events.
func TestAServerWithFewPrivileges(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	working(t, db)
	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one").done(t)
	operator := serving(t, environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_operator")})
	user := newBrowser(t, strings.TrimSuffix(operator.url, "/"))
	for _, path := range pagePaths {
		user.whole(path)
	}
	subscriber := serving(t, environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_subscriber")})
	for _, s := range []*servant{operator, subscriber} {
		key, _ := subject(t, newBrowser(t, strings.TrimSuffix(s.url, "/")).events(""))
		require.Equal(t, "tpl-inst:auto:one", key)
	}
}
