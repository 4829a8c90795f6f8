package webui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

const (
	// DefaultAddr is the default address of the pages.
	DefaultAddr = "127.0.0.1:8080"
	// Off is the address that serves nothing.
	Off = "off"

	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	drainTimeout   = 5 * time.Second
)

// CheckAddr returns an error if an address is neither host:port, nor off, nor "" for the default.
func CheckAddr(addr string) error {
	if addr == "" || addr == Off {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("not an address to listen on: %.60q: it must be host:port such as %s, or %s", addr, DefaultAddr, Off)
	}
	return nil
}

// Server is a Handler that listens.
type Server struct {
	listener net.Listener
	handler  *Handler
	logger   *slog.Logger
}

// Listen takes the address, so that a program that cannot have it fails at once. "" is DefaultAddr, port 0 a free port. If addr
// is off, Listen returns nil and no error. The caller serves or closes the server.
func Listen(ctx context.Context, addr string, handler *Handler) (*Server, error) {
	if err := CheckAddr(addr); err != nil {
		return nil, err
	}
	switch addr {
	case Off:
		return nil, nil //nolint:nilnil // nothing to serve, and nothing wrong
	case "":
		addr = DefaultAddr
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError(addr, handler.serves.flag, err)
	}
	bound, ok := listener.Addr().(*net.TCPAddr)
	if !handler.mayServeOthers() && (!ok || !bound.IP.IsLoopback()) {
		_ = listener.Close() // nothing was accepted on it
		return nil, &ListenError{text: fmt.Sprintf("refusing to serve %s on %s without credentials: other machines can reach it; "+
			"give %s, or listen on %s", handler.serves.what, addr, handler.serves.wayOut, handler.serves.example)}
	}
	s := &Server{listener: listener, handler: handler, logger: handler.cfg.Logger}
	s.logger.InfoContext(ctx, handler.serves.component+": listening", slog.String("url", s.URL()))
	if handler.cfg.Credentials == nil && handler.serves == servingPages {
		s.logger.WarnContext(ctx, "Pages: everybody on this machine can see and change everything, and requests through a proxy are refused; "+
			"set --http-credentials-file to require credentials")
	}
	if handler.open() {
		s.logger.InfoContext(ctx, handler.serves.component+": everybody who reaches this address can read the metrics (--metrics-open)")
	}
	return s, nil
}

func listenError(addr, flag string, err error) error {
	cause, out := err.Error(), "choose another with "+flag+" or set it to off"
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		cause = "the port is taken"
	case errors.Is(err, syscall.EACCES):
		cause = "this user may not listen on that port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		cause = "this machine does not have that address"
	case errors.As(err, &dns):
		cause = "there is no host " + dns.Name
	}
	return &ListenError{text: fmt.Sprintf("cannot listen on %s: %s; %s", addr, cause, out), err: err}
}

// ListenError says why an address could not be taken or was refused, and the way out. The configuration is wrong.
type ListenError struct {
	text string
	err  error
}

func (e *ListenError) Error() string { return e.text }

// Unwrap returns the system's error; nil if the address was refused.
func (e *ListenError) Unwrap() error { return e.err }

// URL returns the address of the operators' page, or the root of a handler without pages.
func (s *Server) URL() string {
	return "http://" + s.listener.Addr().String() + s.handler.at("/")
}

// Close releases the address if Serve was not called.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the HTTP listener: %w", err)
	}
	return nil
}

// Serve serves until ctx is done. Then it ends all streams, and waits up to 5 s for other requests to end.
func (s *Server) Serve(ctx context.Context) error {
	defer s.handler.Stop()
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		s.handler.Stop()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if err := server.Shutdown(drain); err != nil {
			_ = server.Close() // cuts off what outlasts the drain
		}
	})
	defer stop()
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	<-drained
	return nil
}
