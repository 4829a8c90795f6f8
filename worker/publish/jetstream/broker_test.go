package jetstream_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/proxytest"
)

// broker is a NATS server as a process of its own.
type broker struct {
	url     string
	dir     string // its store
	config  string // the file
	program []string
	cmd     *exec.Cmd
}

// serverProcess is this binary as a NATS server.
func serverProcess(config string) int {
	options, err := server.ProcessConfigFile(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	nats, err := server.NewServer(options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	nats.ConfigureLogger()
	nats.Start()
	nats.WaitForShutdown()
	return 0
}

// newBroker writes a server's configuration, with more lines for it, and starts the server.
func newBroker(t testing.TB, more ...string) *broker {
	t.Helper()
	b := prepare(t, more...)
	b.start(t)
	return b
}

func prepare(t testing.TB, more ...string) *broker {
	t.Helper()
	address := proxytest.FreeAddress(t)
	dir := t.TempDir()
	b := &broker{url: "nats://" + address, dir: filepath.Join(dir, "store"), config: filepath.Join(dir, "nats.conf")}
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, max_mem: 64MB, max_file: 1GB }\nlog_file: %q\n",
		address, b.dir, filepath.Join(dir, "log")) + strings.Join(more, "\n")
	require.NoError(t, os.WriteFile(b.config, []byte(text), 0o600))
	t.Cleanup(func() {
		b.kill(t)
		if t.Failed() {
			log, err := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("the server's log (%v):\n%s", err, log[max(0, len(log)-5000):])
		}
	})
	return b
}

func (b *broker) servers() []string { return []string{b.url} }

func (b *broker) start(t testing.TB) {
	t.Helper()
	if b.program != nil {
		b.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), b.program[0], b.program[1:]...)
	} else {
		b.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
		b.cmd.Env = append(os.Environ(), runsServer+"="+b.config)
	}
	b.cmd.Stderr = os.Stderr
	require.NoError(t, b.cmd.Start())
}

// kill is kill -9. Safe to call twice.
func (b *broker) kill(t testing.TB) {
	t.Helper()
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill() // ended before
	_ = b.cmd.Wait()
	b.cmd = nil
}

func (b *broker) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	require.NoError(t, b.cmd.Process.Signal(s))
}

// copyStore copies the files of a server that does not run.
func (b *broker) copyStore(t testing.TB) (copied string) {
	t.Helper()
	copied = filepath.Join(t.TempDir(), "copy")
	copyTree(t, b.dir, copied)
	return copied
}

// setBack puts an older copy of its files in place.
func (b *broker) setBack(t testing.TB, copied string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(b.dir))
	copyTree(t, copied, b.dir)
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, at), 0o700)
		}
		text, err := os.ReadFile(path) //nolint:gosec // a file of this test
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, at), text, 0o600)
	}))
}
