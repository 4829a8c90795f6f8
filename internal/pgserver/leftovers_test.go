package pgserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// killed runs a program that starts a server, kills it, and returns what it left behind.
func killed(t *testing.T, mode, temp string) (d *directory, pid int) {
	t.Helper()
	cmd := command(t, os.Args[0], mode, temp)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close() //nolint:errcheck // the program is dead by then
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := bufio.NewScanner(stdout)
	require.True(t, said.Scan())
	d = &directory{path: said.Text()}
	require.True(t, said.Scan(), d.path)
	pid, err = strconv.Atoi(said.Text())
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	return d, pid
}

// abandon releases the lock as the end of the owner does. Closing alone does not: a process that another test is starting holds
// a copy of the descriptor until it executes its program.
func (d *directory) abandon(t *testing.T) {
	t.Helper()
	require.NoError(t, syscall.Flock(int(d.lock.Fd()), syscall.LOCK_UN))
	require.NoError(t, d.lock.Close())
}

func TestLeftoverServerIsEnded(t *testing.T) {
	t.Parallel()
	d, pid := killed(t, "orphan", openDir(t))
	require.True(t, d.runs(t.Context(), pid), "the server outlived its program")
	require.Equal(t, pid, d.serverPID(t.Context()))

	require.NoError(t, cleanStale(t.Context(), filepath.Dir(d.path), quiet()))
	require.False(t, d.runs(t.Context(), pid))
	require.NoDirExists(t, d.path)
	require.NoFileExists(t, lockFile(d.path))
}

func TestLeftoversOfAHangingServer(t *testing.T) {
	t.Parallel()
	d, pid := killed(t, "orphan", openDir(t))
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.NoError(t, cleanStale(t.Context(), filepath.Dir(d.path), quiet()))
	require.False(t, d.runs(t.Context(), pid))
	require.NoDirExists(t, d.path)
}

func TestNextStartCleansUp(t *testing.T) {
	t.Parallel()
	temp := openDir(t)
	d, pid := killed(t, "orphan", temp)
	next := command(t, os.Args[0], "plain", temp)
	out, err := next.Output()
	require.NoError(t, err, "%s", out)
	require.False(t, d.runs(t.Context(), pid))
	require.NoDirExists(t, d.path)
	require.NoDirExists(t, lines(string(out))[0], "it ended well and left nothing")
}

// Another process may have the pid of a leftover by now.
func TestLeftoverPidOfSomebodyElse(t *testing.T) {
	t.Parallel()
	base := openDir(t)
	bystander := exec.CommandContext(t.Context(), "cat")
	stdin, err := bystander.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, bystander.Start())

	d, err := claim(t.Context(), base)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(d.data(), 0o700))
	pidFile := fmt.Sprintf("%d\n%s\n", bystander.Process.Pid, d.data())
	require.NoError(t, os.WriteFile(filepath.Join(d.data(), "postmaster.pid"), []byte(pidFile), 0o600))
	require.NoError(t, cleanStale(t.Context(), base, quiet()))
	require.DirExists(t, d.path, "its owner lives")

	d.abandon(t)
	require.NoError(t, cleanStale(t.Context(), base, quiet()))
	require.NoDirExists(t, d.path)
	require.NoError(t, stdin.Close())
	require.NoError(t, bystander.Wait(), "the bystander ended by itself")
}

func TestDataDirOutlivesItsProgram(t *testing.T) {
	t.Parallel()
	base, kept := openDir(t), openDir(t)
	d, err := claim(t.Context(), base)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(kept, "PG_VERSION"), []byte("15\n"), 0o600))
	require.NoError(t, os.Symlink(kept, d.data()))
	d.abandon(t)
	require.NoError(t, cleanStale(t.Context(), base, quiet()))
	require.NoDirExists(t, d.path)
	require.FileExists(t, filepath.Join(kept, "PG_VERSION"))
}

// Programs that start and clean at the same time never remove what a living program claimed.
func TestClaimsAndCleanersAtOnce(t *testing.T) {
	t.Parallel()
	base := openDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	var cleaners, claimants sync.WaitGroup
	for range 4 {
		cleaners.Go(func() {
			for ctx.Err() == nil {
				if err := cleanStale(ctx, base, quiet()); err != nil {
					t.Error(err)
					return
				}
			}
		})
		claimants.Go(func() {
			for range 100 {
				d, err := claim(ctx, base)
				if err != nil || !exists(d.path) || !exists(lockFile(d.path)) {
					t.Errorf("claimed %v: %v", d, err)
					return
				}
				if err := d.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	claimants.Wait()
	cancel()
	cleaners.Wait()
	left, err := os.ReadDir(base)
	require.NoError(t, err)
	for _, entry := range left {
		require.True(t, strings.HasSuffix(entry.Name(), lockFile("")), "a directory without a lock file: %s", entry.Name())
	}
}
