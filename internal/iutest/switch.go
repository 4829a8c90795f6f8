package iutest

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Switch is an address whose new connections lead to another server after Lead, while those that are open stay open: as
// a name or a proxy does in a failover. It ends with the test.
type Switch struct {
	// Addr is the address at which it listens.
	Addr string

	target atomic.Pointer[string]
}

// NewSwitch makes a switch that leads to a host and port.
func NewSwitch(t testing.TB, target string) *Switch {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &Switch{Addr: listener.Addr().String()}
	s.Lead(target)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = listener.Close() // it is over either way
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.carry(ctx, client) })
		}
	})
	return s
}

// Lead makes new connections lead to a host and port.
func (s *Switch) Lead(target string) { s.target.Store(&target) }

func (s *Switch) carry(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", *s.target.Load())
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close() // one end is gone, and so is the other
			_ = pair[1].Close()
		})
	}
	wg.Wait()
}
