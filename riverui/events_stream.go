package webui

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	goodbyeTimeout = time.Second // for a client to take the last words
	keptBuffer     = 64 << 10    // bytes that an idle stream keeps for the next events

	// Clients wait so many times EventsConfig.Retry if they cannot be served now, and if they cannot be until somebody
	// decides. A process that is restarted is back by then; a proxy in front of it, too.
	later  = 3
	rarely = 30
)

// eventStream is one client's stream. Between events it holds no more than its place: what the client has not read is
// in the connection's own buffers, or not read from the tail at all.
type eventStream struct {
	events   *Events
	follower *subscribe.Follower
	w        http.ResponseWriter
	control  *http.ResponseController
	buffer   []byte
	placed   bool             // the client was told an id
	told     subscribe.Cursor // the last one
}

func (e *Events) stream(w http.ResponseWriter, r *http.Request, follower *subscribe.Follower) {
	streamHeaders(w.Header())
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	ctx := r.Context()
	s := &eventStream{events: e, follower: follower, w: w, control: http.NewResponseController(w)}
	// A client that does not read must not delay the end of the process: the write that waits for it fails soon.
	stop := context.AfterFunc(ctx, func() { s.deadline(goodbyeTimeout) })
	defer stop()
	logger := e.cfg.Logger.With(slog.String("remote", remote(r)), slog.String("user", who(ctx).name))
	logger.DebugContext(ctx, "Events: a client follows", slog.String("after", follower.Cursor().String()))
	err := s.run(ctx)
	if errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(context.Cause(ctx), errStopping) { // the server cancels ctx after a failed write
		e.cutOff.Add(1)
		logger.InfoContext(ctx, "Events: disconnected a client that reads too slowly; it continues after its cursor when it reconnects",
			slog.String("after", s.told.String()))
		return
	}
	logger.DebugContext(ctx, "Events: a client's stream ended", slog.Any("reason", err), slog.String("after", s.told.String()))
}

// run follows until the client is gone, does not read, cannot be served any more, or is told to come again. It
// returns why.
func (s *eventStream) run(ctx context.Context) error {
	s.buffer = appendRetry(s.buffer, s.events.cfg.Retry)
	if err := s.place(); err != nil {
		return err
	}
	for {
		events, err := s.follower.Next(ctx, s.events.cfg.Heartbeat)
		switch {
		case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errStopping):
			return context.Cause(ctx)
		case len(events) > 0:
			err = s.send(ctx, events)
		case errors.Is(err, subscribe.ErrTailStopped), ctx.Err() != nil:
			return errors.Join(errStopping, s.goodbye())
		case err != nil:
			return errors.Join(err, s.giveUp(err))
		default:
			err = s.place()
		}
		if err != nil {
			return err
		}
	}
}

// send sends events, each with its cursor and its JSON, which is one line.
func (s *eventStream) send(ctx context.Context, events []*subscribe.Event) error {
	for _, event := range events {
		s.appendID(event.Cursor)
		s.buffer = append(s.buffer, "data: "...)
		s.buffer = append(s.buffer, event.JSON...)
		s.buffer = append(s.buffer, "\n\n"...)
	}
	if ctx.Err() != nil {
		return s.flush(goodbyeTimeout)
	}
	return s.flush(s.events.cfg.WriteTimeout)
}

// place tells the client where it is, if it does not know: before the first event, and after many that its filter left
// out. It does so in an event of a type of its own, with data, which no onmessage sees: browsers remember an id that comes
// without data, and other clients do not. Otherwise it says that the stream lives.
func (s *eventStream) place() error {
	if !s.appendPlace() {
		s.buffer = append(s.buffer, ": still here\n\n"...)
	}
	return s.flush(s.events.cfg.WriteTimeout)
}

func (s *eventStream) appendPlace() bool {
	cursor := s.follower.Cursor()
	if s.placed && cursor == s.told {
		return false
	}
	s.buffer = append(s.buffer, "event: cursor\n"...)
	s.appendID(cursor)
	s.buffer = append(append(append(s.buffer, `data: {"cursor":"`...), cursor.String()...), "\"}\n\n"...)
	return true
}

// goodbye makes the client reconnect later, and not together with all others.
func (s *eventStream) goodbye() error { return s.giveUp(subscribe.ErrTailStopped) }

// giveUp writes why the stream ends, and when to reconnect.
func (s *eventStream) giveUp(err error) error {
	p := problemOf(err)
	if !p.lostCursor() {
		s.appendPlace()
	}
	s.buffer = s.events.appendLastWords(s.buffer, p)
	return s.flush(goodbyeTimeout)
}

func (s *eventStream) appendID(cursor subscribe.Cursor) {
	s.placed, s.told = true, cursor
	s.buffer = append(append(append(s.buffer, "id: "...), cursor.String()...), '\n')
}

// appendRetry makes the client wait before it reconnects: between once and twice that long.
func appendRetry(to []byte, retry time.Duration) []byte {
	retry += rand.N(retry) //nolint:gosec // spreads load, guards nothing
	return append(strconv.AppendInt(append(to, "retry: "...), retry.Milliseconds(), 10), '\n')
}

// flush writes what was collected, and fails with os.ErrDeadlineExceeded where the client does not take it in time.
func (s *eventStream) flush(timeout time.Duration) error {
	s.deadline(timeout)
	_, err := s.w.Write(s.buffer)
	if s.buffer = s.buffer[:0]; cap(s.buffer) > keptBuffer {
		s.buffer = nil
	}
	if err != nil {
		return err
	}
	return s.control.Flush()
}

// deadline fails, and changes nothing, if there is no connection: then nothing waits for one, either.
func (s *eventStream) deadline(timeout time.Duration) {
	_ = s.control.SetWriteDeadline(time.Now().Add(timeout))
}
