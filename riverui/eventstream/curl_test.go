package eventstream_test

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

// curl is a curl process that follows the events.
type curl struct {
	*stream

	command *exec.Cmd
	errOut  bytes.Buffer
}

func startCurl(t *testing.T, args ...string) *curl {
	t.Helper()
	path, err := exec.LookPath("curl")
	require.NoError(t, err, "install curl (Debian: apt-get install curl)")
	c := &curl{command: exec.CommandContext(t.Context(), path, append([]string{"-q", "-N", "-sS", "--fail-with-body"}, args...)...)}
	c.command.Stderr = &c.errOut
	out, err := c.command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.command.Start())
	t.Cleanup(func() { _ = c.command.Process.Kill() }) // it may have ended already
	c.stream = &stream{t: t, body: out, lines: bufio.NewReader(out)}
	return c
}

// A shell script can follow with curl, keep the last id, and continue after it.
func TestCurlFollows(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(_ *eventstream.Config, cfg *webui.Config) {
		var err error
		cfg.EventsTokens = tokens(t)
		cfg.Credentials, err = webui.ParseCredentials("viewer:vera:" + viewerPassword)
		require.NoError(t, err)
	})
	keys := s.announce(t, 3)
	first := startCurl(t, "-H", "Authorization: Bearer "+newToken, s.url+"/v1/events?from=beginning")
	require.Equal(t, keys, first.take(3))
	require.NoError(t, first.command.Process.Kill())
	_ = first.command.Wait() // it was killed

	missed := s.announce(t, 2)
	again := startCurl(t, "-u", "vera:"+viewerPassword, "-H", "Last-Event-ID: "+first.lastID, s.url+"/v1/events?from=beginning")
	require.Equal(t, missed, again.take(2))
	require.Equal(t, s.announce(t, 1), again.take(1), "as it happens")

	s.stop()
	guard := time.AfterFunc(patience, again.close)
	_, err := again.next()
	require.ErrorIs(t, err, io.EOF)
	guard.Stop()
	require.NoError(t, again.command.Wait(), "the end is in order: %s", again.errOut.String())
	require.Contains(t, again.comments, "this worker is stopping; reconnect")
}

func TestCurlIsToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(_ *eventstream.Config, cfg *webui.Config) { cfg.EventsTokens = tokens(t) })
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no token": {[]string{s.url + "/v1/events"}, "send a token of the tokens file"},
		"wrong":    {[]string{"-H", "Authorization: Bearer nonsense", s.url + "/v1/events"}, `"status":401`},
		"in URL":   {[]string{s.url + "/v1/events?token=" + oldToken}, `"status":400`},
		"beyond":   {[]string{"-H", "Authorization: Bearer " + oldToken, s.url + "/v1/events?after=9"}, "beyond the end of the history"},
	} {
		c := startCurl(t, test.args...)
		text, err := io.ReadAll(c.lines)
		require.NoError(t, err)
		var exit *exec.ExitError
		require.ErrorAs(t, c.command.Wait(), &exit, name)
		require.Equal(t, 22, exit.ExitCode(), name)
		require.Contains(t, string(text), test.says, name)
	}
}
