package webui

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// DefaultEventsConnections is the default of EventsConfig.MaxConnections.
const DefaultEventsConnections = 5000

// EventsConfig configures Events. The zero value of a field means its default.
type EventsConfig struct {
	// Pool reads events: five connections at most are in use, however many follow. Required.
	Pool *pgxpool.Pool

	// Direct is where the one connection is opened that listens. Nil means the pool's address.
	Direct *pgx.ConnConfig

	// PollInterval is how often to look for events if no notification came. Default 1 s.
	PollInterval time.Duration

	// MaxConnections is how many clients may follow at once; others are told to reconnect later.
	// Default DefaultEventsConnections.
	MaxConnections int

	// Heartbeat is how often an idle stream sends a comment. Default 15 s.
	Heartbeat time.Duration

	// WriteTimeout is how long a client may take to read what was written to it, up to 100 events: a slower one is cut
	// off, and goes on after its cursor when it comes again. Default 10 s.
	WriteTimeout time.Duration

	// Retry is how long a client is told to wait before it reconnects when its connection is lost: three times as long
	// if this process stops or cannot serve it now, thirty times if its cursor is lost. Up to as much again is added at
	// random, so that not all come at once. Default 2 s.
	Retry time.Duration

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

func (c EventsConfig) withDefaults() (EventsConfig, error) {
	if c.MaxConnections < 0 || c.Heartbeat < 0 || c.WriteTimeout < 0 || c.Retry < 0 {
		return c, errors.New("webui: the fields of EventsConfig must not be negative")
	}
	c.MaxConnections = cmp.Or(c.MaxConnections, DefaultEventsConnections)
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 10*time.Second)
	c.Retry = cmp.Or(c.Retry, 2*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// Events serves the events as Server-Sent Events: a stream for each request, and one reader of the database for all of
// them. It asks nobody who they are: Handler does. Safe for concurrent use.
type Events struct {
	cfg  EventsConfig
	tail *subscribe.Tail

	open, refused, cutOff atomic.Int64
}

// EventsStats are numbers of streams.
type EventsStats struct {
	Open    int64 // now
	Refused int64 // since the start: more than MaxConnections
	CutOff  int64 // since the start: took longer than WriteTimeout
}

// NewEvents makes the stream; it does not connect before somebody asks for it. Stop ends it.
func NewEvents(cfg EventsConfig) (*Events, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	tail, err := subscribe.NewTail(subscribe.TailConfig{
		Pool: cfg.Pool, Direct: cfg.Direct, PollInterval: cfg.PollInterval, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Events{cfg: cfg, tail: tail}, nil
}

// Stop ends all streams, after telling the clients to come again, and what reads for them. Safe to call twice.
func (e *Events) Stop() { e.tail.Stop() }

// Stats returns how many streams there are.
func (e *Events) Stats() EventsStats {
	return EventsStats{Open: e.open.Load(), Refused: e.refused.Load(), CutOff: e.cutOff.Load()}
}

// startTimeout is how long a request waits for the database before it is answered.
const startTimeout = 10 * time.Second

// ServeHTTP implements http.Handler.
func (e *Events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked, err := readEventsRequest(r, time.Now())
	if err != nil {
		e.turnAway(w, r, problem{Status: http.StatusBadRequest, Detail: err.Error()})
		return
	}
	defer e.open.Add(-1)
	if e.open.Add(1) > int64(e.cfg.MaxConnections) {
		e.refused.Add(1)
		e.turnAway(w, r, problem{
			Status: http.StatusServiceUnavailable,
			Detail: "too many clients (" + strconv.Itoa(e.cfg.MaxConnections) + "); retry later, or use another worker",
		})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), startTimeout)
	follower, err := e.tail.Follow(ctx, asked.start, asked.filter)
	cancel()
	if err != nil {
		e.refuse(w, r, err)
		return
	}
	defer follower.Close()
	e.stream(w, r, follower)
}

// refuse writes why a client cannot follow.
func (e *Events) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	switch {
	case errors.Is(context.Cause(r.Context()), errStopping):
		p = problemOf(subscribe.ErrTailStopped)
	case r.Context().Err() != nil:
		return // the client is gone
	case p.Status >= http.StatusInternalServerError:
		e.cfg.Logger.WarnContext(r.Context(), "Events: a request failed", slog.String("error", redact(err.Error())))
	}
	e.turnAway(w, r, p)
}
