package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// working starts iuworker work and waits until it is ready. It returns the URL of the pages and a function that stops the worker.
func working(t testing.TB, db *iutest.DB, args ...string) (pages string, log *buffer, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log, ended := newBuffer(), make(chan int, 1)
	args = append([]string{"work", "--http-addr", "127.0.0.1:0"}, args...)
	go func() { ended <- Run(ctx, args, func(name string) string { return on(db)[name] }, newBuffer(), log) }()
	var code *int
	stop = func() int {
		cancel()
		if code == nil {
			c := <-ended
			code = &c
		}
		return *code
	}
	t.Cleanup(func() { stop() })
	log.await(t, `"Worker: ready"`)
	found := regexp.MustCompile(`"url":"(http://[^"]+)"`).FindStringSubmatch(log.String())
	require.NotNil(t, found, log.String())
	return found[1], log, stop
}

// polls reports whether a worker does not listen: its first notification came too late, on a busy machine.
func polls(log *buffer) bool {
	return strings.Contains(log.String(), "notifications do not come through this address")
}

func TestWork(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 2)
	pages, log, stop := working(t, db)
	require.Equal(t, http.StatusOK, get(t, pages+"healthz"))
	awaitStatus(t, pages+"readyz", http.StatusOK)

	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one").done(t)
	run(t, on(db), "scaleout", "--template", "letter", "--count", "20", "--prefix", "many", "--actor", "bulk").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 21 FROM iu_outbox.emission WHERE position IS NOT NULL")

	require.Equal(t, exitDone, stop(), log.String())
	var workers int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.worker").Scan(&workers))
	require.Zero(t, workers, "it signed off")
	for line := range strings.Lines(log.String()) {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

func TestAGateMovedFromTheCommandLineIsHeardByTheWorker(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 2)
	args := []string{"--sweep-interval", "1h", "--poll-interval", "1h"}
	_, log, stop := working(t, db, args...)
	for tries := 1; polls(log); tries++ {
		require.Less(t, tries, 5, log.String())
		require.Equal(t, exitDone, stop())
		_, log, stop = working(t, db, args...)
	}
	run(t, on(db), "enqueue", "--template", "letter").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_river.river_job WHERE metadata ? 'parked'")
	require.Contains(t, run(t, on(db), "status").done(t).out, "\nRun:\n  iuworker gate open auto-instantiate\n")
	run(t, on(db), "gate", "open", "auto-instantiate").done(t)
	run(t, on(db), "gate", "open", "composer").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM public.iu_auto_instantiate_event_log")
	require.Equal(t, exitDone, stop())
}

func TestWorkSaysThatThePortIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // the test is over
	addr := listener.Addr().String()
	run(t, environment{"IUWORKER_DATABASE_URL": nowhere}, "work", "--http-addr", addr, "--log-level", "error").
		failed(t, exitUsage, "cannot listen on "+addr+": the port is taken")
}

func TestWorkIsNotForEverybodyWithoutCredentials(t *testing.T) {
	t.Parallel()
	run(t, environment{"IUWORKER_DATABASE_URL": nowhere}, "work", "--http-addr", "0.0.0.0:0", "--log-level", "error").
		failed(t, exitUsage, "without credentials")
}

func TestThePagesAskForCredentials(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	file := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(file, []byte("viewer:ann:"+secret+"\n"), 0o600))
	pages, log, _ := working(t, db, "--http-addr", "0.0.0.0:0", "--http-credentials-file", file, "--http-base-path", "/iu")
	pages = strings.Replace(pages, "[::]", "127.0.0.1", 1)
	require.Equal(t, http.StatusUnauthorized, get(t, pages))
	require.Equal(t, http.StatusOK, get(t, pages+"healthz"))
	awaitStatus(t, strings.Replace(pages, "http://", "http://ann:"+secret+"@", 1), http.StatusOK)
	require.NotContains(t, log.String(), secret)
}

func TestWorkRefusesAnOlderSchema(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "UPDATE iu_outbox.schema_info SET schema_version = 34")
	run(t, on(db), "work", "--http-addr", "off", "--log-level", "error").failed(t, exitFailed, "run: iuworker migrate up")
}

func TestWorkWarnsOfANewerSchema(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "UPDATE iu_outbox.schema_info SET schema_version = 99")
	_, log, stop := working(t, db)
	log.await(t, "the schema is newer than this program, and allows it")
	require.Equal(t, exitDone, stop())

	db.Exec(t, "UPDATE iu_outbox.schema_info SET min_program_version = '99.0.0'")
	run(t, on(db), "work", "--http-addr", "off", "--log-level", "error").failed(t, exitFailed, "install a newer iuworker")
}
