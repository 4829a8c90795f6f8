package drill

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// streamServer serves one history, one event per connection. A client that has two events is told that what came after position 1 is
// lost. asked returns the cursors after which connections began.
func streamServer(t *testing.T, w *world) (url string, asked func() []string) {
	t.Helper()
	requests := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		last := r.Header.Get("Last-Event-ID")
		requests <- last
		n := map[string]int64{"": 1, "aaaaaaaa-1": 2, "aaaaaaaa-2": 3}[last]
		if n == 3 {
			fmt.Fprint(rw, "retry: 100\n\n: heartbeat\n\nevent: problem\ndata: {\"common_until\": \"aaaaaaaa-1\"}\n\n")
			return
		}
		fmt.Fprintf(rw, "id: aaaaaaaa-%d\ndata: %s\n\n", n, w.json(t, n))
	}))
	t.Cleanup(server.Close)
	return server.URL, func() (all []string) {
		for len(requests) > 0 {
			all = append(all, <-requests)
		}
		return all
	}
}

// stopAfter ends a client after a number of lines.
type stopAfter struct {
	io.Writer

	lines int
	stop  context.CancelFunc
}

func (s *stopAfter) Write(p []byte) (int, error) {
	if s.lines--; s.lines == 0 {
		s.stop()
	}
	return s.Writer.Write(p)
}

// A client that is restarted continues after what the drill has read from its predecessor, whose last line was torn.
func TestStreamClientContinuesAfterWhatWasRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	s := &subscriber{name: "stream", stream: true, record: w.record}
	url, asked := streamServer(t, w)
	run := func(lines, whole int) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var printed bytes.Buffer
		client := StreamClient{URL: url, Token: "secret", Output: &stopAfter{&printed, lines, cancel}, Logger: slog.New(slog.DiscardHandler)}
		if more := s.resume(); len(more) > 0 {
			require.Equal(t, "--after", more[0])
			client.After = more[1]
		}
		require.NoError(t, client.Run(ctx))
		text := printed.Bytes()
		if whole < lines {
			text = text[:len(text)-10]
		}
		s.readMessages(bytes.NewReader(text))
	}
	run(2, 1)
	require.Equal(t, []string{"", "aaaaaaaa-1"}, asked())
	run(2, 2)
	require.Equal(t, []string{"aaaaaaaa-1", "aaaaaaaa-2"}, asked(), "the second event came again, because its line was torn")
	receipts, problems := s.received()
	require.Empty(t, problems)
	require.Len(t, receipts, 2, "and was taken once")
	require.Equal(t, []string{"--after", "aaaaaaaa-1"}, s.resume(), "what came after it is lost")
}

func TestStreamClientFailsWithItsOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	url, _ := streamServer(t, w)
	closed, output := io.Pipe()
	require.NoError(t, closed.Close())
	require.ErrorIs(t, StreamClient{URL: url, Token: "secret", Output: output}.Run(t.Context()), io.ErrClosedPipe)
}
