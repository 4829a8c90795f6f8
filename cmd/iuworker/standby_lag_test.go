package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/pgserver"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// standbyLag is the variable that sets how far behind the standby of TestReadersOfAStandbyUnderLoad is.
const standbyLag = "STANDBY_LAG"

// Events are composed under load, and the standby replays each of them late. All kinds of readers receive each event once and in order.
// A reader that is ahead of the standby waits. No reader fails, or is told that the history was rewound.
func TestReadersOfAStandbyUnderLoad(t *testing.T) {
	t.Parallel()
	lag := 2 * time.Second
	if text := os.Getenv(standbyLag); text != "" {
		var err error
		lag, err = time.ParseDuration(text)
		require.NoError(t, err, standbyLag)
	}
	r := &lagging{pair: newPair(t, pgserver.StandbyConfig{})}
	r.delay(t, lag)
	_, log, stop := working(t, r.primary)
	s := serving(t, environment{"IUWORKER_DATABASE_URL": r.primary.URL, "IUWORKER_READ_DATABASE_URL": r.standby.URL})
	behind := map[string]*buffer{
		"subscribe":              r.follow(t, "--after", "0"),
		"subscribe, no primary":  r.followStandby(t, "--after", "0"),
		"subscribe --consumer":   r.follow(t, "--consumer", "books"),
		"serve":                  streamed(t, s.url+"v1/events?from=beginning"),
		"Go API":                 r.run(t, 0),
		"Go API, a limited lag":  r.run(t, lag/2),
		"Go API, however behind": r.run(t, -1),
	}
	l := r.load(t, 2)
	r.standby.WaitFor(t, patience, "SELECT position >= 20 FROM iu_outbox.emission_counter")

	// The standby stands still until readers have started that are ahead of it. The primary begins an epoch that it does not know yet.
	r.standby.Exec(t, "SELECT pg_wal_replay_pause()")
	r.primary.Exec(t, "SELECT iu_outbox.begin_epoch()")
	now, err := subscribe.Resolve(t.Context(), r.primary.Pool, subscribe.Now())
	require.NoError(t, err)
	ahead := map[string]*buffer{
		"subscribe":             r.follow(t, "--after", now.String()),
		"subscribe, no primary": r.followStandby(t, "--after", now.String()),
		"serve":                 streamed(t, s.url+"v1/events?after="+now.String()),
	}
	for _, errOut := range r.logs[len(r.logs)-2:] {
		errOut.await(t, "the standby has not replayed this cursor yet; waiting")
	}
	r.standby.Exec(t, "SELECT pg_wal_replay_resume()")
	r.standby.WaitFor(t, patience, "SELECT position >= $1 FROM iu_outbox.emission_counter", now.Position+20)
	n := l.end()
	r.verified(t, n)

	for name, out := range behind {
		r.got(t, name, out, upTo(n))
	}
	for name, out := range ahead {
		r.got(t, name+", ahead", out, upTo(n)[now.Position:])
	}
	for _, errOut := range append(r.logs, s.log) {
		require.NotContains(t, errOut.String(), "rewound")
		require.NotContains(t, errOut.String(), "beyond the end")
		require.NotContains(t, errOut.String(), "iuworker: ", "it ended")
	}
	r.limited.await(t, "the standby is too far behind; reading from the primary")
	r.delay(t, 0)
	r.limited.await(t, "reading from the standby again")
	late := r.late(lag)
	require.Positive(t, late, "they did read the standby")
	t.Logf("lag %s: %d events to %d readers, each once and in order; %d%% from the standby came after the lag or later, after %s to %s",
		lag, n, len(behind)+len(ahead), late, slices.Min(r.delays).Round(time.Millisecond), slices.Max(r.delays).Round(time.Millisecond))
	require.Equal(t, exitDone, s.stop(), s.log.String())
	require.Equal(t, exitDone, stop(), log.String())
}

// lagging is a pair whose standby is behind, and its readers.
type lagging struct {
	*pair

	logs    []*buffer
	limited *buffer // the log of the reader that goes to the primary

	mu     sync.Mutex
	delays []time.Duration // from the events' times to the Go readers that stay on the standby
}

// delay makes the standby replay each commit only when lag has passed since it was made.
func (r *lagging) delay(t *testing.T, lag time.Duration) {
	t.Helper()
	r.standby.Exec(t, fmt.Sprintf("ALTER SYSTEM SET recovery_min_apply_delay = '%dms'", lag.Milliseconds()))
	r.standby.Exec(t, "SELECT pg_reload_conf()")
}

// follow runs iuworker subscribe with both servers until the test ends.
func (r *lagging) follow(t *testing.T, args ...string) (out *buffer) {
	t.Helper()
	out, errOut, _ := follow(t, r.primary, append(args, "--read-database-url", r.standby.URL, "--log-level", "info")...)
	r.logs = append(r.logs, errOut)
	return out
}

// followStandby runs iuworker subscribe with the standby alone.
func (r *lagging) followStandby(t *testing.T, args ...string) (out *buffer) {
	t.Helper()
	out, errOut, _ := follow(t, r.standby, append(args, "--log-level", "info")...)
	r.logs = append(r.logs, errOut)
	return out
}

// run runs subscribe.Run until the test ends.
func (r *lagging) run(t *testing.T, maxLag time.Duration) (out *buffer) {
	t.Helper()
	out, errOut := newBuffer(), newBuffer()
	r.logs = append(r.logs, errOut)
	if maxLag > 0 {
		r.limited = errOut
	}
	cfg := subscribe.Config{
		Pool: r.primary.Pool, Read: r.standby.Pool, MaxLag: maxLag, From: subscribe.Beginning(), Logger: slog.New(slog.NewTextHandler(errOut, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- subscribe.Run(ctx, cfg, func(_ context.Context, event subscribe.Event) error {
			if maxLag <= 0 {
				r.mu.Lock()
				r.delays = append(r.delays, time.Since(event.Time))
				r.mu.Unlock()
			}
			_, err := fmt.Fprintf(out, "%s\n", event.JSON)
			return err
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return out
}

// got waits until a reader has received as many events as want has, and requires that they are those of want.
func (r *lagging) got(t *testing.T, reader string, out *buffer, want []int) {
	t.Helper()
	printed(t, out, len(want))
	require.Equal(t, want, positions(t, out.String()), "%s: %s", reader, r.logs)
}

// late returns the percentage of events that reached the Go readers of the standby no sooner than lag after they were composed.
func (r *lagging) late(lag time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	late := 0
	for _, delay := range r.delays {
		if delay >= lag {
			late++
		}
	}
	return 100 * late / len(r.delays)
}

// streamed collects the events of a stream until the test ends.
func streamed(t *testing.T, at string) (out *buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request) //nolint:bodyclose // when the test ends
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	out = newBuffer()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			if data, found := strings.CutPrefix(lines.Text(), "data: {"); found && strings.Contains(data, `"position"`) {
				fmt.Fprintf(out, "{%s\n", data)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		require.NoError(t, response.Body.Close())
	})
	return out
}
