package drill

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that returns what it gets.
func echo(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func TestLinkStopsWithoutClosing(t *testing.T) {
	t.Parallel()
	server := echo(t)
	l, err := newLink(t.Context(), "tcp", "", func() (string, string) { return "tcp", server })
	require.NoError(t, err)
	defer l.close()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", l.listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	reply := func(conn net.Conn, within time.Duration) error {
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
		_, err := conn.Read(make([]byte, 1))
		return err
	}
	const long, short = 10 * time.Second, 50 * time.Millisecond
	old := dial()
	require.NoError(t, reply(old, long))

	l.freeze(false)
	require.ErrorIs(t, reply(old, short), os.ErrDeadlineExceeded, "it hangs, and is not closed")
	require.NoError(t, reply(dial(), long), "new connections pass")

	l.freeze(true)
	hanging := dial()
	require.ErrorIs(t, reply(hanging, short), os.ErrDeadlineExceeded, "new ones hang, too")
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.cables) == 3
	}, long, time.Millisecond, "the link has accepted it")
	l.heal()
	for _, conn := range []net.Conn{old, hanging} {
		err := reply(conn, long)
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "what hung is closed")
	}
	last := dial()
	require.NoError(t, reply(last, long))
	l.reset()
	require.NoError(t, last.SetReadDeadline(time.Now().Add(long)))
	_, err = last.Read(make([]byte, 1))
	require.Error(t, err)
}
