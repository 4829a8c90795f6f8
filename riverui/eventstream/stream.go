package eventstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	goodbyeTimeout = time.Second // for a client to read the last words
	keptBuffer     = 64 << 10    // bytes that an idle stream keeps for the next events

	// Clients wait this many times Config.Retry if they cannot be served now, and if their cursor is lost. A process that
	// restarts is back by then, and so is a proxy in front of it.
	later  = 3
	rarely = 30
)

// stream is one client's stream. Between events it holds no more than its place: what the client has not read yet is in the
// connection's buffers, or has not been read from the tail.
type stream struct {
	handler  *Handler
	follower *subscribe.Follower
	w        http.ResponseWriter
	control  *http.ResponseController
	buffer   []byte
	placed   bool             // the client was told an id
	told     subscribe.Cursor // the last one
}

type userKey struct{}

// WithUser returns a context that names the user of a request in the log.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

func (h *Handler) stream(w http.ResponseWriter, r *http.Request, follower *subscribe.Follower) {
	SetHeaders(w.Header())
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	ctx := r.Context()
	s := &stream{handler: h, follower: follower, w: w, control: http.NewResponseController(w)}
	// A client that does not read must not delay the end of the process: a write that waits for it fails soon.
	stop := context.AfterFunc(ctx, func() { s.deadline(goodbyeTimeout) })
	defer stop()
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" if a test made the request
	logger := h.cfg.Logger.With(slog.String("remote", host), slog.Any("user", ctx.Value(userKey{})))
	logger.DebugContext(ctx, "Events: a client follows", slog.String("after", follower.Cursor().String()))
	err := s.run(ctx)
	if errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(context.Cause(ctx), ErrStopping) { // the server cancels ctx after a failed write
		h.cutOff.Add(1)
		logger.InfoContext(ctx, "Events: disconnected a client that reads too slowly; it continues after its cursor when it reconnects",
			slog.String("after", s.told.String()))
		return
	}
	logger.DebugContext(ctx, "Events: a client's stream ended", slog.Any("reason", err), slog.String("after", s.told.String()))
}

// run follows until the client disconnects, reads too slowly, cannot be served any more, or is told to reconnect. It returns why.
func (s *stream) run(ctx context.Context) error {
	s.buffer = appendRetry(s.buffer, s.handler.cfg.Retry)
	if err := s.place(ctx); err != nil {
		return err
	}
	for {
		events, err := s.follower.Next(ctx, s.handler.cfg.Heartbeat)
		switch {
		case ctx.Err() != nil && !errors.Is(context.Cause(ctx), ErrStopping):
			return context.Cause(ctx)
		case len(events) > 0:
			err = s.send(ctx, events)
		case errors.Is(err, subscribe.ErrTailStopped), ctx.Err() != nil:
			return errors.Join(ErrStopping, s.giveUp(ctx, subscribe.ErrTailStopped))
		case err != nil:
			return errors.Join(err, s.giveUp(ctx, err))
		default:
			err = s.place(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// send sends events, each with its cursor and its JSON, which is one line.
func (s *stream) send(ctx context.Context, events []*subscribe.Event) error {
	for _, event := range events {
		s.appendID(event.Cursor)
		s.buffer = fmt.Appendf(s.buffer, "data: %s\n\n", event.JSON)
	}
	return s.flush(ctx, s.handler.cfg.WriteTimeout)
}

// place tells the client its position if it does not know it: before the first event, and after events that its filter left
// out. Otherwise it sends a heartbeat. The position is an event of a type of its own, which no onmessage sees, with data:
// browsers remember an id that comes without data, and other clients do not.
func (s *stream) place(ctx context.Context) error {
	if !s.appendPlace() {
		s.buffer = append(s.buffer, ": still here\n\n"...)
	}
	return s.flush(ctx, s.handler.cfg.WriteTimeout)
}

func (s *stream) appendPlace() bool {
	cursor := s.follower.Cursor()
	if s.placed && cursor == s.told {
		return false
	}
	s.buffer = append(s.buffer, "event: cursor\n"...)
	s.appendID(cursor)
	s.buffer = fmt.Appendf(s.buffer, "data: {\"cursor\":\"%s\"}\n\n", cursor)
	return true
}

// giveUp writes why the stream ends, and when to reconnect.
func (s *stream) giveUp(ctx context.Context, err error) error {
	p := problemOf(err)
	if !p.lostCursor() {
		s.appendPlace()
	}
	s.buffer = s.handler.appendLastWords(s.buffer, p)
	return s.flush(ctx, goodbyeTimeout)
}

func (s *stream) appendID(cursor subscribe.Cursor) {
	s.placed, s.told = true, cursor
	s.buffer = fmt.Appendf(s.buffer, "id: %s\n", cursor)
}

// appendRetry makes the client wait before it reconnects: between once and twice that long.
func appendRetry(to []byte, retry time.Duration) []byte {
	retry += rand.N(retry) //nolint:gosec // spreads load, guards nothing
	return fmt.Appendf(to, "retry: %d\n", retry.Milliseconds())
}

// flush writes what was collected. It fails with os.ErrDeadlineExceeded if the client does not read it in time.
func (s *stream) flush(ctx context.Context, timeout time.Duration) error {
	s.deadline(timeout)
	if ctx.Err() != nil { // its end may have set the deadline just before
		s.deadline(goodbyeTimeout)
	}
	_, err := s.w.Write(s.buffer)
	if s.buffer = s.buffer[:0]; cap(s.buffer) > keptBuffer {
		s.buffer = nil
	}
	if err != nil {
		return err
	}
	return s.control.Flush()
}

// deadline has no effect without a connection; then nothing waits for one, either.
func (s *stream) deadline(timeout time.Duration) {
	_ = s.control.SetWriteDeadline(time.Now().Add(timeout))
}
