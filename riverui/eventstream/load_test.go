package eventstream_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

func TestIdleStreamsSendHeartbeats(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) { cfg.Heartbeat = 20 * time.Millisecond })
	c := s.open(t, "?actor=nobody")
	start := c.lastID
	for len(c.comments) < 3 {
		m, err := c.block()
		require.NoError(t, err)
		require.Nil(t, m)
	}
	require.Equal(t, start, c.lastID)
	require.Equal(t, "still here", c.comments[0])

	// Events that the filter excludes advance the cursor with which the client will reconnect.
	s.announce(t, 3)
	for c.position() < 3 {
		m, err := c.block()
		require.NoError(t, err)
		if m != nil {
			require.Equal(t, "cursor", m.event)
			require.JSONEq(t, `{"cursor": "`+m.id+`"}`, m.data)
		}
	}
}

// A thousand waiting clients cost the database as much as one.
func TestAThousandIdleConnectionsCostNothing(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) { cfg.Heartbeat = 5 * time.Second })
	s.announce(t, 1)
	connections := func() int {
		return query[int](t, s.DB, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND backend_type = 'client backend' AND pid <> pg_backend_pid()`)
	}
	commits := func() int {
		return query[int](t, s.DB, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
	}
	s.open(t, "") // one of them
	s.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen %')")
	before := connections()
	const clients = 1000
	var wg sync.WaitGroup
	all := make([]*stream, clients)
	for n := range clients {
		wg.Go(func() { all[n] = s.open(t, "?after=1") })
		if n%10 == 9 {
			wg.Wait() // not all at once: the backlog of the listener is not tested here
		}
	}
	wg.Wait()
	require.EqualValues(t, clients+1, s.events.Stats().Open)
	hear := func(heartbeats int) {
		for _, c := range all {
			wg.Go(func() {
				for len(c.comments) < heartbeats {
					if _, err := c.block(); !assertNoError(t, err) {
						return
					}
				}
			})
		}
		wg.Wait()
	}
	hear(2) // the server's statistics are up to a second late
	made, start := commits(), time.Now()
	hear(4)
	require.Less(t, commits()-made, 20+5*int(time.Since(start).Seconds()), "the poll makes one a second, and the test some")
	require.LessOrEqual(t, connections(), before+2)

	keys := s.announce(t, 2)
	for _, c := range all {
		require.Equal(t, keys, c.take(2))
	}
	require.LessOrEqual(t, connections(), before+2)
	for _, c := range all {
		c.close()
	}
	eventually(t, func() bool { return s.events.Stats().Open == 1 })
}

// A client that does not read is disconnected once the system's buffers for it are full. Other clients do not notice. When it
// reconnects, it continues where it stopped.
func TestASlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) { cfg.WriteTimeout = 5 * time.Second })
	s.fill(t, 1, 1)
	slow := s.slowly(t, "?after=1")
	quick := s.open(t, "?after=1")
	const events = 600
	guard := time.AfterFunc(patience, quick.close)
	for quick.position() < 1+events {
		s.fill(t, 100, 20_000) // less than the buffers hold, so that only the slow client falls behind
		for range 100 {
			position := quick.position()
			m, err := quick.next()
			require.NoError(t, err)
			require.Len(t, m.data[strings.Index(m.data, "xxx"):strings.LastIndex(m.data, "xxx")+3], 20_000)
			require.Equal(t, position+1, quick.position())
		}
		guard.Reset(patience)
	}
	guard.Stop()
	eventually(t, func() bool { return s.events.Stats() == eventstream.Stats{Open: 1, CutOff: 1} }, s.events.Stats())
	require.Contains(t, s.log.String(), "Events: disconnected a client that reads too slowly")

	// It still receives complete events until the connection ends, and continues after them.
	for {
		_, err := slow.next()
		if err != nil {
			break
		}
	}
	require.Less(t, slow.position(), int64(1+events))
	again := s.open(t, "", lastEventID(slow.lastID))
	for position := slow.position(); position < 1+events; position++ {
		_, err := again.next()
		require.NoError(t, err)
		require.Equal(t, position+1, again.position())
	}
}

// slowly opens a stream over a connection with small buffers, and reads only its beginning.
func (s *streaming) slowly(t *testing.T, path string) *stream {
	t.Helper()
	client := dialer(func(conn *net.TCPConn) { _ = conn.SetReadBuffer(256 << 10) })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/events"+path, nil)
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	c := &stream{t: t, body: response.Body, header: response.Header, lines: bufio.NewReader(response.Body)}
	_, err = c.block()
	require.NoError(t, err)
	return c
}

func TestNoMoreThanTheLimitFollow(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) { cfg.MaxConnections = 2 })
	first, second := s.open(t, ""), s.open(t, "")
	require.Equal(t, "5", s.ask(t, "").header.Get("Retry-After"))
	require.Contains(t, s.refused(t, http.StatusServiceUnavailable, "").Detail, "too many clients (2)")
	require.Equal(t, eventstream.Stats{Open: 2, Refused: 2}, s.events.Stats())
	s.turnedAway(t, "", "too many clients (2)")
	first.close()
	eventually(t, func() bool { return s.events.Stats().Open == 1 })
	third := s.open(t, "", eventSource)
	keys := s.announce(t, 1)
	require.Equal(t, keys, second.take(1))
	require.Equal(t, keys, third.take(1))
}

// A server that stops tells its clients to reconnect, and does not wait for one that does not read.
func TestShutdownTellsClientsToReconnect(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) { cfg.Retry = time.Millisecond })
	clients := make([]*stream, 10)
	for i := range clients {
		clients[i] = s.open(t, "?actor=nobody")
	}
	s.slowly(t, "")
	quick := s.open(t, "")
	for range 6 { // more than the buffers hold
		s.fill(t, 100, 20_000)
		quick.skip(100)
	}
	s.stop()
	require.Regexp(t, `a client's stream ended.*i/o timeout`, s.log.String(), "before the server cuts off what is left")
	for _, c := range clients {
		c.retry = ""
		_, err := c.next()
		require.ErrorIs(t, err, io.EOF, "the stream ends in order")
		require.Equal(t, "this worker is stopping; reconnect", c.comments[len(c.comments)-1])
		require.Contains(t, []string{"3", "4", "5"}, c.retry, "longer than after a lost connection, and not all at once")
	}
	require.Zero(t, s.events.Stats().Open)
}

func TestTheEventsMayBeStoppedAlone(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	c := s.open(t, "")
	s.events.Stop()
	s.events.Stop()
	_, err := c.next()
	require.ErrorIs(t, err, io.EOF)
	require.Contains(t, c.comments, "this worker is stopping; reconnect")
	require.Contains(t, s.refused(t, http.StatusServiceUnavailable, "").Detail, "stopping")
	s.turnedAway(t, "", "this worker is stopping; reconnect")
}

// A request that arrives while the pages stop is refused: an empty 200 would end an EventSource.
func TestARequestWhileThePagesStopIsToldToReconnect(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	s.open(t, "").close()
	s.handler.Stop()
	s.turnedAway(t, "", "this worker is stopping; reconnect")
	require.Contains(t, s.refused(t, http.StatusServiceUnavailable, "").Detail, "stopping")
}

func TestWithoutADatabaseRequestsAreRefusedSoon(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) {
		config := cfg.Pool.Config()
		config.ConnConfig.Port = 1
		nowhere, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(nowhere.Close)
		cfg.Pool = nowhere
	})
	p := s.refused(t, http.StatusServiceUnavailable, "")
	require.Equal(t, "cannot connect to the database; the log says why", p.Detail)
	s.turnedAway(t, "?after=1", "cannot connect to the database")
}

// A login without its role is a fault of the installation: clients reconnect until it is repaired.
func TestALoginThatMayNotReadTheEventsIsNoClientsFault(t *testing.T) {
	t.Parallel()
	role := "web_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) {
		config := cfg.Pool.Config()
		config.ConnConfig.User, config.ConnConfig.Password = role, role
		stranger, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(stranger.Close)
		cfg.Pool = stranger
	})
	s.Exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD '"+role+"'")
	t.Cleanup(func() { s.Exec(t, "DROP ROLE "+role) })
	require.Contains(t, s.refused(t, http.StatusServiceUnavailable, "").Detail, "grant it the role iu_worker")
	s.turnedAway(t, "", "grant it the role iu_worker")
}

// After ten thousand connects and disconnects, no goroutine, no connection and no memory is left. The test runs alone, because
// it counts them.
func TestConnectsAndDisconnectsLeaveNothing(t *testing.T) { //nolint:paralleltest // it counts the goroutines and the memory of the process
	s := setupStreaming(t, func(events *eventstream.Config, cfg *webui.Config) {
		events.Logger, cfg.Logger = slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler) // the test's own log would grow
	})
	s.announce(t, 3)
	open := s.open(t, "")
	storm := func(n int) {
		var wg sync.WaitGroup
		for worker := range 20 {
			wg.Go(func() {
				for i := range n / 20 {
					ctx, cancel := context.WithCancel(t.Context())
					request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/events?after=3", nil)
					assertNoError(t, err)
					if (worker+i)%10 == 0 {
						request.URL.RawQuery = "after=1" // these clients read from the database
					}
					response, err := streams.Do(request)
					if assertNoError(t, err) {
						assert.Equal(t, http.StatusOK, response.StatusCode)
						_ = response.Body.Close()
					}
					cancel()
				}
			})
		}
		wg.Wait()
		eventually(t, func() bool { return s.events.Stats().Open == 1 })
	}
	measure := func() (goroutines int, heap uint64, connections int) {
		eventually(t, func() bool {
			before := runtime.NumGoroutine()
			runtime.Gosched()
			return runtime.NumGoroutine() <= before
		})
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc,
			query[int](t, s.DB, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'")
	}
	storm(400) // fills the pools and caches
	goroutines, heap, connections := measure()
	storm(10_000)
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+5 }, "goroutines")
	_, heapAfter, connectionsAfter := measure()
	require.LessOrEqual(t, connectionsAfter, connections+3)
	require.Less(t, heapAfter, heap+2<<20)
	require.Equal(t, s.announce(t, 1), open.take(1))
}
