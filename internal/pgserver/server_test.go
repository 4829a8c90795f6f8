package pgserver

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestStart(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Settings: map[string]string{"fsync": "off", "cluster_name": "it's ours"}})

	require.Equal(t, "UTF8", value[string](t, s, "SHOW server_encoding"))
	require.Equal(t, "C", value[string](t, s, "SELECT datcollate FROM pg_catalog.pg_database WHERE datname = 'template1'"))
	require.Equal(t, "off", value[string](t, s, "SHOW fsync"))
	require.Equal(t, "it's ours", value[string](t, s, "SHOW cluster_name"))
	require.Empty(t, value[string](t, s, "SHOW listen_addresses"), "no port is open")
	require.FileExists(t, filepath.Join(s.BinDir(), "postgres"))

	info, err := os.Stat(s.dir.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	owner := info.Sys().(*syscall.Stat_t).Uid
	require.NotZero(t, owner, "root runs no server")

	pid := s.process.cmd.Process.Pid
	group, err := syscall.Getpgid(pid)
	require.NoError(t, err)
	require.Equal(t, pid, group, "Ctrl-C reaches the program's group only")
}

func TestStopTwice(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Config{})
	require.NoError(t, err)
	require.NoError(t, s.Stop())
	require.NoError(t, s.Stop())
	require.NoDirExists(t, s.dir.path)
	require.NoFileExists(t, lockFile(s.dir.path))
	require.ErrorContains(t, s.Restart(t.Context()), "stopped permanently")
}

func TestTCP(t *testing.T) {
	t.Parallel()
	first, second := start(t, Config{TCP: true}), start(t, Config{TCP: true})
	require.NotEqual(t, first.port, second.port)
	for _, s := range []*Server{first, second} {
		require.Equal(t, "127.0.0.1", value[string](t, s, "SHOW listen_addresses"))
		require.Equal(t, s.dir.data(), value[string](t, s, "SHOW data_directory"))
	}
}

func TestAnotherServerOnThePort(t *testing.T) {
	t.Parallel()
	first, second := start(t, Config{TCP: true}), start(t, Config{TCP: true})
	mistaken := &Server{cfg: second.cfg, dir: second.dir, port: first.port}
	require.ErrorContains(t, mistaken.ping(t.Context()), "belongs to another PostgreSQL")
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	s := start(t, Config{TCP: true})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE public.kept AS SELECT 7 AS seven")
	require.NoError(t, err)

	s.Kill()
	require.Error(t, conn.Ping(t.Context()))
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, s.Restart(t.Context()))
	require.Equal(t, 7, value[int](t, s, "SELECT seven FROM public.kept"))

	require.NoError(t, s.Restart(t.Context()), "of one that runs")
	require.Equal(t, 7, value[int](t, s, "SELECT seven FROM public.kept"))
}

func TestDataDirIsKept(t *testing.T) {
	t.Parallel()
	data := filepath.Join(openDir(t), "data")
	s, err := Start(t.Context(), Config{DataDir: data})
	require.NoError(t, err)
	first := value[string](t, s, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
	require.NoError(t, s.Stop())
	require.NoDirExists(t, s.dir.path)
	require.FileExists(t, filepath.Join(data, "PG_VERSION"))

	again := start(t, Config{DataDir: data})
	require.Equal(t, first, value[string](t, again, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"))
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx    context.Context
		cfg    Config
		reason string
	}{
		"setting unknown":  {t.Context(), Config{Settings: map[string]string{"fsink": "off"}}, `unrecognized configuration parameter`},
		"setting no name":  {t.Context(), Config{Settings: map[string]string{"-D": "x"}}, `setting "-D" is no name`},
		"no time":          {t.Context(), Config{StartTimeout: time.Nanosecond}, "no reply within 1ns"},
		"no PostgreSQL":    {t.Context(), Config{BinDir: "/nonexistent"}, "use the PostgreSQL of /nonexistent"},
		"no way to data":   {t.Context(), Config{DataDir: "/nonexistent/data"}, "make the data directory"},
		"cancelled before": {cancelled, Config{}, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Start(test.ctx, test.cfg)
			require.ErrorContains(t, err, test.reason)
			require.Nil(t, s)
		})
	}
}

func TestStopOfAServerThatHangs(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Config{StopTimeout: 100 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, s.process.cmd.Process.Signal(syscall.SIGSTOP))
	require.NoError(t, s.Stop())
	require.NoDirExists(t, s.dir.path)
}
