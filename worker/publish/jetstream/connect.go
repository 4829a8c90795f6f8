package jetstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/iu-core/iuworker/worker/publish"
)

const (
	dialTimeout   = 2 * time.Second
	reconnectWait = 250 * time.Millisecond
	pingInterval  = 5 * time.Second
)

// connect connects unless there is a connection. One that was lost reconnects by itself.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		if s.conn.IsConnected() {
			return nil
		}
		return publish.Away(errNotConnected)
	}
	options, err := s.options()
	if err != nil {
		return err
	}
	type result struct {
		conn *nats.Conn
		err  error
	}
	connected := make(chan result, 1)
	go func() {
		conn, err := options.Connect() // takes no context
		connected <- result{conn, err}
	}()
	select {
	case r := <-connected:
		if r.err != nil {
			return s.connectError(r.err)
		}
		return s.use(r.conn)
	case <-ctx.Done():
		go func() {
			if r := <-connected; r.conn != nil {
				r.conn.Close()
			}
		}()
		return ctx.Err()
	}
}

// use replaces the connection, and listens for acknowledgements on it.
func (s *Sink) use(conn *nats.Conn) error {
	s.inbox = conn.NewInbox()
	if _, err := conn.Subscribe(s.inbox+".*", s.acknowledged); err != nil {
		conn.Close()
		return publish.Away(fmt.Errorf("listen for acknowledgements: %w", err))
	}
	s.conn = conn
	s.live.Store(conn)
	return nil
}

func (s *Sink) options() (nats.Options, error) {
	o := nats.GetDefaultOptions()
	options := []nats.Option{
		nats.Name(s.cfg.Name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.Timeout(dialTimeout),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2), nats.FlusherTimeout(s.cfg.AckTimeout),
		nats.ReconnectBufSize(-1), // what was not sent is sent again after the stream was asked, not blindly
		nats.ErrorHandler(s.asyncError),
		nats.ReconnectHandler(func(*nats.Conn) { s.reconnected.Store(true) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { s.disconnected(err) }),
	}
	login, err := s.cfg.Login.options()
	if err != nil {
		return o, err
	}
	o.Servers = s.cfg.Servers
	for _, option := range append(options, login...) {
		if err := option(&o); err != nil {
			return o, fmt.Errorf("set up the connection to NATS: %w", err)
		}
	}
	return o, nil
}

// options checks the files, so that one that is missing is an error of its own.
func (l Login) options() (options []nats.Option, err error) {
	if l.CredsFile != "" {
		text, err := os.ReadFile(l.CredsFile)
		if err != nil {
			return nil, fmt.Errorf("read the credentials: %w", err)
		}
		if bytes.Contains(text, []byte("NATS USER JWT")) {
			options = append(options, nats.UserCredentials(l.CredsFile))
		} else if option, err := nats.NkeyOptionFromSeed(l.CredsFile); err == nil {
			options = append(options, option)
		} else {
			return nil, fmt.Errorf("the file %s holds neither a JWT with its NKey seed nor an NKey seed: %w", l.CredsFile, nkeys.ErrInvalidSeed)
		}
	}
	if l.User != "" {
		if l.Password != nil {
			if _, err := l.Password(); err != nil {
				return nil, fmt.Errorf("read the password: %w", err)
			}
		}
		options = append(options, nats.UserInfoHandler(l.userInfo))
	}
	if l.CAFile != "" {
		options = append(options, nats.RootCAs(l.CAFile))
	}
	if l.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile); err != nil {
			return nil, fmt.Errorf("read the client's certificate: %w", err)
		}
		options = append(options, nats.ClientCert(l.CertFile, l.KeyFile))
	}
	return options, nil
}

func (l Login) userInfo() (user, password string) {
	if l.Password != nil {
		password, _ = l.Password() // the server refuses an empty one
	}
	return l.User, password
}

// connectError tells a server that is away from one that refuses.
func (s *Sink) connectError(err error) error {
	switch {
	case refused(err):
		return fmt.Errorf("NATS refuses the login: %w; check --creds-file, or --user and --password-file", err)
	case errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted):
		return publish.NoTLS(err)
	}
	if err := publish.TLSError(err); err != nil {
		return err
	}
	return publish.Away(fmt.Errorf("connect to NATS: %w", err))
}

func refused(err error) bool {
	for _, one := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// asyncError keeps what the server refuses: the message itself gets no reply then.
func (s *Sink) asyncError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		err = fmt.Errorf("NATS refuses: %w; grant this user the subjects that docs/publish.md lists", err)
		s.denied.Store(&err)
		s.fail(err)
		return
	}
	s.cfg.Logger.Debug("Publisher: the connection to NATS reported an error", slog.String("error", err.Error()))
}

func (s *Sink) disconnected(err error) {
	if err == nil {
		err = nats.ErrDisconnected
	}
	s.fail(publish.Away(fmt.Errorf("lost the connection to NATS: %w", err)))
}

// Reconnected implements publish.Sink.
func (s *Sink) Reconnected() bool { return s.reconnected.Load() }

// Connected returns why the broker cannot be reached; nil if it can.
func (s *Sink) Connected() error {
	conn := s.live.Load()
	switch {
	case conn == nil:
		return errNotConnected
	case !conn.IsConnected():
		if err := conn.LastError(); err != nil {
			return err
		}
		return errNotConnected
	}
	return nil
}

var errNotConnected = errors.New("no connection to NATS")

// Close closes the connection. Safe to call twice.
func (s *Sink) Close() {
	if conn := s.live.Load(); conn != nil {
		conn.Close()
	}
}
