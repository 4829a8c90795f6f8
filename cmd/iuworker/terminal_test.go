package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// onTerminal runs the program in a process of its own on a pseudo-terminal, which script (bsdutils) makes.
func onTerminal(t testing.TB, db *iutest.DB, typed string, args ...string) (string, error) {
	t.Helper()
	return onTerminalWith(t, db, typed, []string{"TERM=xterm", "NO_COLOR="}, args...)
}

// columnsOfTerminal is the width of the terminals of onTerminalWith.
const columnsOfTerminal = "TEST_COLUMNS"

// onTerminalWith is onTerminal with additional environment variables.
func onTerminalWith(t testing.TB, db *iutest.DB, typed string, env []string, args ...string) (string, error) {
	t.Helper()
	words := []string{shellWord(os.Args[0])}
	for _, arg := range args {
		words = append(words, shellWord(arg))
	}
	command := "exec " + strings.Join(words, " ")
	for _, setting := range env {
		if columns, ok := strings.CutPrefix(setting, columnsOfTerminal+"="); ok {
			command = "stty cols " + columns + " && " + command
		}
	}
	cmd := exec.CommandContext(t.Context(), "script", "--quiet", "--return", "--command", command, os.DevNull)
	cmd.Env = append(os.Environ(), runsMain+"=1", "IUWORKER_DATABASE_URL="+db.URL)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(typed)
	out, err := cmd.CombinedOutput()
	return strings.ReplaceAll(string(out), "\r\n", "\n"), err
}

// On a terminal, status --watch uses the alternate screen: at its end, the terminal's lines and scrollback are restored.
func TestStatusWatchLeavesTheTerminalAsItWas(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := newBuffer()
	cmd := exec.CommandContext(ctx, "script", "--quiet", "--return", "--command", "exec "+shellWord(os.Args[0])+" status --watch", os.DevNull)
	cmd.Env = append(os.Environ(), runsMain+"=1", "IUWORKER_DATABASE_URL="+db.URL)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	out.await(t, "gate composer")
	_, err = stdin.Write([]byte{3}) // Ctrl-C
	require.NoError(t, err)
	out.await(t, leaveScreen)
	require.NoError(t, cmd.Wait())
	require.True(t, strings.HasPrefix(out.String(), enterScreen) || strings.Contains(out.String(), enterScreen+clearScreen), out.String())
	require.NotContains(t, out.String(), "\x1b[3J", "it erases the scrollback")
}

func TestSubscribeSaysOnATerminalThatItWaits(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	instantiate(t, db, db.Template(t, "letter", 1), "a-1", "ann")
	db.Exec(t, "SELECT iu_outbox.emit(100)")
	out, err := onTerminal(t, db, "", "subscribe", "--after", "0", "--limit", "1")
	require.NoError(t, err, out)
	require.Regexp(t, `waiting for events after [0-9a-f]{8}-0; Ctrl-C to stop\n`, out)
}
