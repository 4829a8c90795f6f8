package main

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// program is the program in a separate process.
type program struct {
	cmd         *exec.Cmd
	out, errOut *buffer
	ended       chan error
}

func start(t testing.TB, db *iutest.DB, args ...string) *program {
	t.Helper()
	return launch(t, []string{"IUWORKER_DATABASE_URL=" + db.URL}, args...)
}

// launch starts the program with variables besides those of the tests.
func launch(t testing.TB, variables []string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(t.Context(), os.Args[0], args...), out: newBuffer(), errOut: newBuffer(), ended: make(chan error, 1)}
	p.cmd.Env = append(append(os.Environ(), runsMain+"=1"), variables...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errOut
	require.NoError(t, p.cmd.Start())
	go func() { p.ended <- p.cmd.Wait() }()
	return p
}

func (p *program) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(signal))
}

func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	p := start(t, db, "work", "--http-addr", "off")
	run(t, on(db), "scaleout", "--template", "letter", "--count", "3000", "--prefix", "p", "--actor", "a").done(t)
	db.WaitFor(t, patience, "SELECT count(*) > 100 FROM public.iu_auto_instantiate_event_log")
	p.signal(t, syscall.SIGTERM)
	require.NoError(t, <-p.ended, p.errOut.String())
	require.Contains(t, p.errOut.String(), "Worker: stopped")
	var running, waiting, workers int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM iu_river.river_job WHERE state = 'running'),
		       (SELECT count(*) FROM iu_outbox.emission WHERE position IS NULL),
		       (SELECT count(*) FROM iu_outbox.worker)`).Scan(&running, &waiting, &workers))
	require.Zero(t, running, "what it had begun it ended, or gave back")
	require.Zero(t, waiting, "what it had composed it announced")
	require.Zero(t, workers, "it signed off")
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	p := start(t, db, "work", "--http-addr", "off", "--shutdown-timeout", "1h")
	p.errOut.await(t, "Worker: ready")
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	_, err = tx.Exec(t.Context(), "LOCK TABLE iu_outbox.emission IN ACCESS EXCLUSIVE MODE") // the drain waits for it
	require.NoError(t, err)
	p.signal(t, syscall.SIGINT)
	p.errOut.await(t, "Worker: stopping")
	p.signal(t, syscall.SIGINT)
	exit, ok := errors.AsType[*exec.ExitError](<-p.ended)
	require.True(t, ok)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGINT, status.Signal())
}

func TestAReaderThatGoesAwayEndsTheProgram(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a", "b")
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	cmd := exec.CommandContext(t.Context(), os.Args[0], "subscribe", "--after", "0")
	cmd.Env = append(os.Environ(), runsMain+"=1", "IUWORKER_DATABASE_URL="+db.URL)
	errOut := newBuffer()
	cmd.Stdout, cmd.Stderr = writer, errOut
	require.NoError(t, cmd.Run(), "neither a signal nor a failure: %s", errOut)
	require.NoError(t, writer.Close())
	require.Empty(t, unhurried(errOut.String()))
}

func TestAScaleoutThatIsInterruptedSaysSo(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	p := start(t, db, "scaleout", "--template", "letter", "--count", "10000000", "--prefix", "p", "--actor", "a")
	db.WaitFor(t, patience, "SELECT count(*) >= 1000 FROM iu_river.river_job")
	p.signal(t, syscall.SIGINT)
	exit, ok := errors.AsType[*exec.ExitError](<-p.ended)
	require.True(t, ok)
	require.Equal(t, exitFailed, exit.ExitCode())
	said := regexp.MustCompile(`^iuworker: interrupted after (\d+) of 10000000: (\d+) added, 0 skipped; the same command continues from there\n$`).
		FindStringSubmatch(p.errOut.String())
	require.NotNil(t, said, p.errOut.String())
	var jobs string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*)::text FROM iu_river.river_job").Scan(&jobs))
	require.Equal(t, jobs, said[1], "what it says is what it did")
}
