package drill

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const dialTimeout = 5 * time.Second

// link is the network of one process, which leads to the server or, for a stream client, to the workers: a proxy that forwards
// bytes, and can stop forwarding without closing a connection. It listens on a socket that only this user reaches if the server has
// one, else on a loopback port. Safe for concurrent use.
type link struct {
	listener net.Listener
	target   func() (network, address string)
	ctx      context.Context
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	mu      sync.Mutex
	cables  map[*cable]struct{}
	stalled bool // new connections are accepted, and nothing passes
}

// cable is one connection through a link.
type cable struct {
	client net.Conn
	server net.Conn // nil until it is dialled
	frozen chan struct{}
	done   chan struct{}
	once   sync.Once
}

// newLink listens. dir is a private directory whose path is short enough for a socket; with network "tcp" it is not used.
func newLink(ctx context.Context, network, dir string, target func() (network, address string)) (*link, error) {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(dir, ".s.PGSQL.5432")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("open a proxy: %w", err)
	}
	l := &link{listener: listener, target: target, cables: map[*cable]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.tasks.Go(l.accept)
	return l, nil
}

// place returns where a client connects to: the directory of a socket or an IP address, and the port.
func (l *link) place() (host string, port int) {
	if tcp, ok := l.listener.Addr().(*net.TCPAddr); ok {
		return tcp.IP.String(), tcp.Port
	}
	dir, name := filepath.Split(l.listener.Addr().String())
	port, _ = strconv.Atoi(filepath.Ext(name)[1:]) // it is ours
	return filepath.Clean(dir), port
}

func (l *link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		c := &cable{client: client, done: make(chan struct{})}
		l.mu.Lock()
		l.cables[c] = struct{}{}
		if l.stalled {
			c.frozen = make(chan struct{})
		}
		l.mu.Unlock()
		l.tasks.Go(func() { l.carry(c) })
	}
}

// carry forwards both ways until one end closes. The end of a frozen connection is not forwarded.
func (l *link) carry(c *cable) {
	defer l.drop(c)
	if !l.passes(c) {
		return
	}
	network, address := l.target()
	dialer := net.Dialer{Timeout: dialTimeout}
	server, err := dialer.DialContext(l.ctx, network, address)
	if err != nil {
		return
	}
	l.mu.Lock()
	c.server = server
	l.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() { l.pump(c, c.client, server) })
	l.pump(c, server, c.client)
	back.Wait()
}

// pump forwards one way, then ends the connection.
func (l *link) pump(c *cable, to, from net.Conn) {
	defer c.cut()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.passes(c) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits while the connection is frozen, and reports whether it is still there.
func (l *link) passes(c *cable) bool {
	l.mu.Lock()
	frozen := c.frozen
	l.mu.Unlock()
	if frozen == nil {
		return true
	}
	select {
	case <-frozen:
		return true
	case <-c.done:
	case <-l.ctx.Done():
	}
	return false
}

// cut ends a connection: both ends are closed.
func (c *cable) cut() {
	c.once.Do(func() {
		close(c.done)
		_ = c.client.Close()
		if c.server != nil {
			_ = c.server.Close()
		}
	})
}

func (l *link) drop(c *cable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.cut()
	delete(l.cables, c)
}

// freeze stops the connections that are there, without closing them: nothing passes, and nobody is told. With stall, new
// connections are accepted and stopped, too.
func (l *link) freeze(stall bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = stall
	for c := range l.cables {
		if c.frozen == nil {
			c.frozen = make(chan struct{})
		}
	}
}

// heal lets new connections pass, and closes those that are frozen.
func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = false
	for c := range l.cables {
		if c.frozen != nil {
			c.cut()
		}
	}
}

// reset closes all connections.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.cables {
		c.cut()
	}
}

func (l *link) close() {
	_ = l.listener.Close()
	l.cancel()
	l.reset()
	l.tasks.Wait()
}
