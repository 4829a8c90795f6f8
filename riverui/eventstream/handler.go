package eventstream

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

	"github.com/iu-core/iuworker/riverui/internal/dberror"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// DefaultMaxConnections is the default of Config.MaxConnections.
const DefaultMaxConnections = 5000

// Config configures a Handler. The zero value of a field means its default.
type Config struct {
	// Pool reads events over at most five connections, however many clients follow. Required.
	Pool *pgxpool.Pool

	// Read is the pool of a hot standby of Pool's server, which events are read from instead, and MaxLag how far behind it may be;
	// see subscribe.Config. Default: none.
	Read   *pgxpool.Pool
	MaxLag time.Duration

	// Direct is the address of the one connection that listens. Default: the pool's address.
	Direct *pgx.ConnConfig

	// PollInterval is how often to poll if no notification arrives. Default 1 s.
	PollInterval time.Duration

	// MaxConnections is the number of clients that may follow at once; others are told to reconnect later. Default
	// DefaultMaxConnections.
	MaxConnections int

	// Heartbeat is how often an idle stream sends a comment. Default 15 s.
	Heartbeat time.Duration

	// WriteTimeout is how long a client may take to read one batch of up to 100 events. A slower client is disconnected
	// and continues after its cursor when it reconnects. Default 10 s.
	WriteTimeout time.Duration

	// Retry is how long a client waits before it reconnects after its connection was lost. It waits three times as long
	// if this process stops or cannot serve it now, and thirty times as long if its cursor is lost. Up to as much again
	// is added at random, so that clients do not all reconnect at once. Default 2 s.
	Retry time.Duration

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.MaxConnections < 0 || c.Heartbeat < 0 || c.WriteTimeout < 0 || c.Retry < 0 {
		return c, errors.New("eventstream: the fields of Config must not be negative")
	}
	c.MaxConnections = cmp.Or(c.MaxConnections, DefaultMaxConnections)
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 10*time.Second)
	c.Retry = cmp.Or(c.Retry, 2*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// Handler serves a stream for each request and has one reader of the database for all of them. It is safe for concurrent use.
type Handler struct {
	cfg  Config
	tail *subscribe.Tail

	open, refused, cutOff atomic.Int64
}

// Stats counts streams.
type Stats struct {
	Open    int64 // now
	Refused int64 // since the start, because of MaxConnections
	CutOff  int64 // since the start, because of WriteTimeout
}

// New returns a handler, which connects at the first request.
func New(cfg Config) (*Handler, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	tail, err := subscribe.NewTail(subscribe.TailConfig{
		Pool: cfg.Pool, Read: cfg.Read, MaxLag: cfg.MaxLag, Direct: cfg.Direct, PollInterval: cfg.PollInterval, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Handler{cfg: cfg, tail: tail}, nil
}

// Stop ends all streams, after telling their clients to reconnect, and the reader. It is safe to call twice.
func (h *Handler) Stop() { h.tail.Stop() }

// Stats returns the numbers of streams.
func (h *Handler) Stats() Stats {
	return Stats{Open: h.open.Load(), Refused: h.refused.Load(), CutOff: h.cutOff.Load()}
}

// ErrStopping is the cause with which a server cancels a request's context to end its stream in order.
var ErrStopping = errors.New("stopping")

// startTimeout is how long a request waits for the database before it is refused.
var startTimeout = 10 * time.Second

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, filter, err := readRequest(r, time.Now())
	if err != nil {
		h.turnAway(w, r, Problem{Status: http.StatusBadRequest, Detail: err.Error()})
		return
	}
	defer h.open.Add(-1)
	if h.open.Add(1) > int64(h.cfg.MaxConnections) {
		h.refused.Add(1)
		h.turnAway(w, r, Problem{
			Status: http.StatusServiceUnavailable,
			Detail: "too many clients (" + strconv.Itoa(h.cfg.MaxConnections) + "); retry later, or use another worker",
		})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), startTimeout)
	follower, err := h.tail.Follow(ctx, start, filter)
	cancel()
	if err == nil {
		defer follower.Close()
		h.stream(w, r, follower)
		return
	}
	problem := problemOf(err)
	switch {
	case errors.Is(context.Cause(r.Context()), ErrStopping):
		problem = problemOf(subscribe.ErrTailStopped)
	case r.Context().Err() != nil:
		return // the client has disconnected
	case problem.Status >= http.StatusInternalServerError:
		h.cfg.Logger.WarnContext(r.Context(), "Events: a request failed", slog.String("error", dberror.Redact(err.Error())))
	}
	h.turnAway(w, r, problem)
}
