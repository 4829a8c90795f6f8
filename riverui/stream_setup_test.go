package webui_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

// streaming serves the pages and the events on a database of its own, whose gates are open.
type streaming struct {
	*iutest.DB
	cfg          webui.Config
	handler      *webui.Handler
	address, url string
	stop         func() // stops the server, and waits for its end
	log          *iutest.Log
	composed     int
}

func setupStreaming(t *testing.T, configure func(*webui.Config)) *streaming {
	t.Helper()
	s := &streaming{DB: iutest.New(t), log: &iutest.Log{}}
	s.OpenGates(t)
	s.Template(t, "tpl:invoice", 1)
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	events, err := eventstream.New(eventstream.Config{Pool: s.Pool, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(events.Stop)
	s.cfg = webui.Config{Pool: s.Pool, Logger: logger, Events: events}
	if configure != nil {
		configure(&s.cfg)
	}
	s.serve(t, "127.0.0.1:0")
	return s
}

// serve serves until stop is called, or the test ends.
func (s *streaming) serve(t *testing.T, address string) {
	t.Helper()
	var err error
	s.handler, err = webui.New(s.cfg)
	require.NoError(t, err)
	s.url, s.stop = listen(t, s.handler, address)
	s.address = strings.TrimPrefix(s.url, "http://")
}

// listen serves until stop is called, or the test ends.
func listen(t *testing.T, handler *webui.Handler, address string) (url string, stop func()) {
	t.Helper()
	var server *webui.Server
	iutest.Eventually(t, func() bool {
		var err error
		server, err = webui.Listen(t.Context(), address, handler)
		return err == nil
	}, patience, "listen again at an address that a client of another server may have got meanwhile")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
	})
	t.Cleanup(stop)
	return strings.TrimSuffix(server.URL(), "/"), stop
}

// announce composes n live instances, announces them, and returns their keys.
func (s *streaming) announce(t *testing.T, n int) (keys []string) {
	t.Helper()
	for range n {
		s.composed++
		suffix := "s-" + strconv.Itoa(s.composed)
		s.Exec(t, `
			SELECT public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'order.paid', id, $1, 'live', 'billing')
			FROM iu_outbox.template WHERE collection_key = 'tpl:invoice'`, suffix)
		keys = append(keys, "tpl-inst:auto:"+suffix)
	}
	s.Exec(t, "SELECT iu_outbox.emit(500)")
	return keys
}

// reply is the response to a request. Its body is closed when the test ends.
type reply struct {
	status int
	header http.Header
	body   io.ReadCloser
}

// ask requests the events.
func (s *streaming) ask(t *testing.T, changes ...func(*http.Request)) reply {
	t.Helper()
	r := request(t, s.url+"/v1/events", "")
	for _, change := range changes {
		change(r)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return reply{response.StatusCode, response.Header, response.Body}
}

// refused requires that the response is a problem with this status, and returns its detail.
func (s *streaming) refused(t *testing.T, status int, changes ...func(*http.Request)) string {
	t.Helper()
	a := s.ask(t, changes...)
	require.Equal(t, status, a.status)
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	var problem struct {
		Title, Detail string
		Status        int
	}
	require.NoError(t, json.NewDecoder(a.body).Decode(&problem))
	require.Equal(t, status, problem.Status)
	require.Equal(t, http.StatusText(status), problem.Title)
	return problem.Detail
}

// follow opens a stream and waits until it begins; next waits for the key of its next event.
func (s *streaming) follow(t *testing.T, changes ...func(*http.Request)) (next func() string) {
	t.Helper()
	a := s.ask(t, changes...)
	require.Equal(t, http.StatusOK, a.status)
	lines := bufio.NewReader(a.body)
	data := func() (event struct{ Subject, Cursor string }) {
		for {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				require.NoError(t, json.Unmarshal([]byte(text), &event), text)
				return event
			}
		}
	}
	require.NotEmpty(t, data().Cursor, "the server says where the stream begins")
	return func() string { return data().Subject }
}
