package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/iu-core/iuworker/internal/iutest/executable"
)

// programMode makes the test binary a program that starts a server (in mode "standby", a standby of it as well), prints where, and
// waits until it is killed or its standard input is closed.
const programMode = "PGSERVER_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if mode, ok := os.LookupEnv(programMode); ok {
		os.Exit(program(mode))
	}
	goleak.VerifyTestMain(m)
}

func program(mode string) int {
	s, err := Start(context.Background(), Config{orphan: mode == "orphan"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	servers := []*Server{s}
	if mode == "standby" {
		standby, err := s.Standby(context.Background(), StandbyConfig{Synchronous: true})
		if err != nil {
			fmt.Println(errors.Join(err, s.Stop()))
			return 1
		}
		s, servers = standby, append(servers, standby)
	}
	fmt.Println(s.dir.path)
	fmt.Println(s.process.cmd.Process.Pid)
	_, _ = os.Stdin.Read(make([]byte, 1))
	for _, s := range servers {
		if err := s.Stop(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

// start starts a server that ends with the test.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

// value asks a server for one value.
func value[T any](t *testing.T, s *Server, sql string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	var answer T
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&answer))
	return answer
}

// openDir makes a directory that every user may enter; those of testing are closed to others.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgserver-test-") //nolint:usetesting // a short path: sockets lie below it
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// selfIn copies the test binary to where every user may run it.
func selfIn(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	content, err := os.ReadFile(self)
	require.NoError(t, err)
	path := filepath.Join(dir, "program")
	executable.Write(t, path, string(content))
	return path
}

// command makes the test binary a program with private directories below temp.
func command(t *testing.T, path, mode, temp string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Dir = temp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + temp, "TMPDIR=" + temp, programMode + "=" + mode}
	return cmd
}

// eventually waits until the condition holds.
func eventually(t *testing.T, condition func() bool, message string) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, 10*time.Millisecond, message)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
