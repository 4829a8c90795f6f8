package jetstream_test

import (
	"context"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
)

// world is a database, a server and two publishers in a storm.
type world struct {
	*bundle
	server     *pgserver.Server
	broker     *broker
	publishers [2]*exec.Cmd // each a process; one is active
}

// disasters are what happens to it, by name.
var disasters = map[string]func(w *world, t *testing.T, n int){
	"publishers are killed": func(w *world, t *testing.T, _ int) {
		for i := range w.publishers {
			w.killPublisher(t, i)
		}
	},
	"the active publisher is killed": func(w *world, t *testing.T, _ int) { w.killPublisher(t, w.active(t)) },
	"the server is killed": func(w *world, t *testing.T, _ int) {
		w.broker.kill(t)
		w.broker.start(t)
	},
	"the server hangs": func(w *world, t *testing.T, n int) {
		w.broker.signal(t, syscall.SIGSTOP)
		w.announce(t, n)
		pause(t, 2500*time.Millisecond) // longer than the publishers wait for acknowledgements
		w.broker.signal(t, syscall.SIGCONT)
	},
	"a publisher hangs until its messages are no duplicates any more": func(w *world, t *testing.T, n int) {
		active := w.active(t)
		w.announce(t, n)
		require.NoError(t, w.publishers[active].Process.Signal(syscall.SIGSTOP))
		w.until(t, "SELECT lease_until < clock_timestamp() OR split_part(process, '-', -2) <> $1 FROM iu_outbox.consumer_lease",
			itoa(w.publishers[active].Process.Pid))
		w.published(t)
		pause(t, 2*duplicates)
		w.announce(t, n)
		require.NoError(t, w.publishers[active].Process.Signal(syscall.SIGCONT))
	},
	"the consumer's row is set by hand": func(w *world, t *testing.T, n int) {
		w.until(t, "SELECT last_event_id IS NOT NULL FROM iu_outbox.consumer") // as long as the stream is empty, the row decides
		w.Exec(t, "UPDATE iu_outbox.consumer SET position = $1", n*7)
	},
	"the server's files are set back": func(w *world, t *testing.T, n int) {
		w.broker.kill(t)
		copied := w.broker.copyStore(t)
		w.broker.start(t)
		w.announce(t, n)
		w.published(t)
		w.broker.kill(t)
		w.broker.setBack(t, copied)
		w.broker.start(t)
	},
	"PostgreSQL is killed": func(w *world, t *testing.T, _ int) {
		w.server.Kill()
		require.NoError(t, w.server.Restart(context.WithoutCancel(t.Context())))
		w.Pool.Reset()
		w.until(t, "SELECT true")
	},
}

// duplicates is the duplicate window of the stream in a storm.
const duplicates = 300 * time.Millisecond

// Whatever is killed, stopped, set back or set by hand: the stream is the table, position by position.
func TestTheStreamIsTheTableInAStorm(t *testing.T) {
	t.Parallel()
	names := make([]string, 0, len(disasters))
	for name := range disasters {
		names = append(names, name)
	}
	slices.Sort(names)
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		if checks++; checks > stormsMost {
			return
		}
		type step struct {
			Name     string
			Announce int
			Await    bool // until the publishers are up to date
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{rapid.SampledFrom(names).Draw(t, "disaster"), rapid.IntRange(1, 150).Draw(t, "announce"), rapid.Bool().Draw(t, "await")}
		}), 6, 9).Draw(rt, "steps")
		t.Logf("%+v", steps)
		w := newWorld(t)
		for _, step := range steps {
			w.announce(t, step.Announce)
			if step.Await {
				w.published(t)
			}
			disasters[step.Name](w, t, step.Announce)
		}
		w.announce(t, 5)
		w.published(t)
		w.requireEqual(t, w.broker.servers())
		w.end(t)
	})
}

// stormsMost bounds the time of the test; the flag -rapid.checks may ask for fewer.
const stormsMost = 2

func newWorld(t *testing.T) *world {
	t.Helper()
	db, server := iutest.Own(t)
	w := &world{bundle: bundleOf(t, db), server: server, broker: newBroker(t)}
	_, err := jsContext(t, w.broker.servers()).CreateStream(t.Context(), js.StreamConfig{
		Name: w.stream(), Subjects: []string{"iu." + w.Name + ".*"}, Duplicates: duplicates,
	})
	require.NoError(t, err)
	for i := range w.publishers {
		w.publishers[i] = w.spawn(t, w.broker.servers())
	}
	w.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_lease")
	return w
}

// active returns which publisher has the lease.
func (w *world) active(t *testing.T) int {
	t.Helper()
	active := -1
	eventually(t, func() bool {
		var pid string
		err := w.Pool.QueryRow(t.Context(), `SELECT COALESCE((SELECT split_part(process, '-', -2) FROM iu_outbox.consumer_lease
			WHERE lease_until > clock_timestamp()), '')`).Scan(&pid)
		for i, p := range w.publishers {
			if err == nil && itoa(p.Process.Pid) == pid {
				active = i
			}
		}
		return active >= 0
	}, "a publisher has the lease")
	return active
}

func (w *world) killPublisher(t *testing.T, i int) {
	t.Helper()
	require.NoError(t, w.publishers[i].Process.Kill())
	_ = w.publishers[i].Wait() // it was killed
	w.publishers[i] = w.spawn(t, w.broker.servers())
}

// end stops the publishers, which exit 0. One that has just begun dies of the signal.
func (w *world) end(t *testing.T) {
	t.Helper()
	for _, p := range w.publishers {
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		if err := p.Wait(); p.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			require.NoError(t, err)
		}
	}
	w.broker.kill(t)
}

// pause lets time pass that is itself the disaster.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
