package eventstream_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

// patience is how long a condition may take on a busy machine.
const patience = 90 * time.Second

const (
	oldToken       = "0123456789abcdef"
	newToken       = "fedcba9876543210-._~+/=="
	viewerPassword = "only: looking"
)

func tokens(t *testing.T) *webui.Tokens {
	t.Helper()
	parsed, err := webui.ParseTokens(oldToken + "\n" + newToken + "\n")
	require.NoError(t, err)
	return parsed
}

func with(key, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(key, value) }
}

func bearer(token string) func(*http.Request) { return with("Authorization", "Bearer "+token) }

// streaming is a server of events on a database of its own, whose gates are open.
type streaming struct {
	*iutest.DB
	template uuid.UUID
	cfg      webui.Config
	events   *eventstream.Handler
	handler  *webui.Handler
	url      string
	stop     func() // stops the server, and waits for its end
	log      *iutest.Log
	suffixes atomic.Int64
}

func setupStreaming(t testing.TB, change func(*eventstream.Config, *webui.Config)) *streaming {
	t.Helper()
	s := &streaming{DB: iutest.New(t), log: &iutest.Log{}}
	s.OpenGates(t)
	s.template = s.Template(t, "tpl:invoice", 1)
	pool, err := pgxpool.New(t.Context(), s.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	events := eventstream.Config{Pool: pool, Logger: logger, WriteTimeout: patience}
	s.cfg = webui.Config{Pool: s.Pool, Logger: logger}
	if change != nil {
		change(&events, &s.cfg)
	}
	s.events, err = eventstream.New(events)
	require.NoError(t, err)
	t.Cleanup(s.events.Stop)
	s.cfg.Events = s.events
	s.serve(t, "127.0.0.1:0")
	return s
}

// serve serves until stop is called, or the test ends.
func (s *streaming) serve(t testing.TB, address string) {
	t.Helper()
	var err error
	s.handler, err = webui.New(s.cfg)
	require.NoError(t, err)
	var server *webui.Server
	iutest.Eventually(t, func() bool {
		server, err = webui.Listen(t.Context(), address, s.handler)
		return err == nil
	}, patience, "listen again at an address that a client of another server may have got meanwhile")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
	})
	t.Cleanup(s.stop)
	s.url = strings.TrimSuffix(server.URL(), "/")
}

const composeSQL = `SELECT public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), $1, $2, $3, 'live', $4) ->> 'status'`

// announce composes n live instances, announces them, and returns their keys.
func (s *streaming) announce(t testing.TB, n int, as ...composing) (keys []string) {
	t.Helper()
	how := composing{template: s.template, eventType: "order.paid", actor: "billing"}
	if len(as) > 0 {
		how = as[0]
	}
	for range n {
		suffix := "s-" + strconv.FormatInt(s.suffixes.Add(1), 10)
		s.Exec(t, composeSQL, how.eventType, how.template, suffix, how.actor)
		keys = append(keys, "tpl-inst:auto:"+suffix)
	}
	s.Exec(t, "SELECT iu_outbox.emit(500)")
	return keys
}

type composing struct {
	template         uuid.UUID
	eventType, actor string
}

// fill announces n emissions of the given size in bytes, without composing anything.
func (s *streaming) fill(t *testing.T, n, bytes int) {
	t.Helper()
	s.Exec(t, `
		INSERT INTO iu_outbox.emission (instance_collection_id, event)
		SELECT gen_random_uuid(), jsonb_build_object('specversion', '1.0', 'id', 'filler', 'subject', 'filler', 'time', now(),
			'source', '/x', 'data', jsonb_build_object('actor', 'filler', 'instance_key', repeat('x', $2)))
		FROM generate_series(1, $1::int)`, n, bytes)
	for range (n + 499) / 500 {
		s.Exec(t, "SELECT iu_outbox.emit(500)")
	}
}

func query[T any](t testing.TB, db *iutest.DB, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, db.Pool.QueryRow(t.Context(), sql, args...).Scan(&v), sql)
	return v
}

// dialer returns a client that opens a connection for each stream and closes it with the stream.
func dialer(configure func(*net.TCPConn)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if tcp, ok := conn.(*net.TCPConn); ok && configure != nil {
				configure(tcp)
			}
			return conn, err
		},
	}}
}

var streams = dialer(nil)

// stream is a client of a stream. It reads as the specification of Server-Sent Events says.
type stream struct {
	t      testing.TB
	body   io.ReadCloser
	header http.Header
	lines  *bufio.Reader

	lastID   string
	retry    string
	comments []string
}

// message is what a browser would dispatch.
type message struct{ id, event, data string }

func (m message) subject(t testing.TB) string {
	t.Helper()
	var event struct {
		Subject, Cursor, Type, RolledBackAt string
	}
	require.NoError(t, json.Unmarshal([]byte(m.data), &event), m.data)
	require.Equal(t, m.id, event.Cursor)
	if event.Type != "" { // the test did not write it itself
		iutest.RequireEvent(t, m.data)
	}
	return event.Subject
}

// open opens a stream; path holds the query.
func (s *streaming) open(t testing.TB, path string, changes ...func(*http.Request)) *stream {
	t.Helper()
	a := s.ask(t, path, changes...)
	if a.status != http.StatusOK {
		text, _ := io.ReadAll(a.body)
		require.Equal(t, http.StatusOK, a.status, "%s", text)
	}
	c := &stream{t: t, body: a.body, header: a.header, lines: bufio.NewReader(a.body)}
	for c.lastID == "" { // the server first sends the cursor where the stream begins
		_, err := c.block()
		require.NoError(t, err)
	}
	return c
}

// reply is the response to a request. Its body is closed when the test ends.
type reply struct {
	status int
	header http.Header
	body   io.ReadCloser
}

func (s *streaming) ask(t testing.TB, path string, changes ...func(*http.Request)) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/events"+path, nil)
	require.NoError(t, err)
	for _, change := range changes {
		change(request)
	}
	response, err := streams.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return reply{response.StatusCode, response.Header, response.Body}
}

// block reads up to an empty line, and returns the message to dispatch, or nil. Like most
// clients, but unlike browsers, it remembers an id only if data comes with it.
func (c *stream) block() (*message, error) {
	var m message
	var data []string
	id := c.lastID
	for {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		field, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimPrefix(value, " "); field {
		case "":
			c.comments = append(c.comments, value)
		case "id":
			id = value
		case "event":
			m.event = value
		case "data":
			data = append(data, value)
		case "retry":
			c.retry = value
		default:
			return nil, fmt.Errorf("unexpected line %q", line)
		}
	}
	if len(data) == 0 {
		return nil, nil
	}
	c.lastID = id
	m.id, m.data = id, strings.Join(data, "\n")
	return &m, nil
}

// next waits for the next message that is more than a cursor.
func (c *stream) next() (message, error) {
	for {
		m, err := c.block()
		if m != nil && m.event == "cursor" {
			require.JSONEq(c.t, `{"cursor": "`+m.id+`"}`, m.data)
			continue
		}
		if m != nil || err != nil {
			if m == nil {
				m = &message{}
			}
			return *m, err
		}
	}
}

// take waits for the next n messages and returns their subjects.
func (c *stream) take(n int) (keys []string) {
	c.t.Helper()
	guard := time.AfterFunc(patience, c.close)
	defer guard.Stop()
	for len(keys) < n {
		m, err := c.next()
		require.NoError(c.t, err, "after %d of %d messages", len(keys), n)
		require.Empty(c.t, m.event, "a browser's onmessage is called for events without a type")
		require.NotContains(c.t, m.data, "\n")
		keys = append(keys, m.subject(c.t))
	}
	return keys
}

// skip reads n messages of any kind.
func (c *stream) skip(n int) {
	c.t.Helper()
	for range n {
		_, err := c.next()
		require.NoError(c.t, err)
	}
}

// position returns the position of the last id.
func (c *stream) position() int64 {
	_, text, _ := strings.Cut(c.lastID, "-")
	position, err := strconv.ParseInt(text, 10, 64)
	require.NoError(c.t, err, c.lastID)
	return position
}

func (c *stream) close() { _ = c.body.Close() }

// assertNoError is require.NoError for goroutines, which must not end the test.
func assertNoError(t *testing.T, err error) bool {
	t.Helper()
	return assert.NoError(t, err)
}

func eventually(t *testing.T, condition func() bool, what ...any) {
	t.Helper()
	iutest.Eventually(t, condition, patience, what...)
}
