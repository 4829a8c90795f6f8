package webui

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/iu-core/iuworker/jobs"
)

// NewRiverClient makes a client of our River that works no jobs: enough to look at them, retry, cancel and delete
// them, and to pause queues.
func NewRiverClient(pool *pgxpool.Pool, logger *slog.Logger) (*river.Client[pgx.Tx], error) {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: jobs.RiverSchema, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("set River up: %w", err)
	}
	return client, nil
}

// riverPolicy lets River UI set styles on its elements, which it does all over; all else is as in our pages.
const riverPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func withRiverPolicy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", riverPolicy)
		next.ServeHTTP(w, r)
	})
}

// riverRead lets River UI read. It takes a database that is away for a mistake of the request (400), and a session that
// was cut off for one of its own (500): the first is said as the pages say it, the second read again.
func (h *Handler) riverRead(w http.ResponseWriter, r *http.Request) {
	first := h.askRiver(r)
	if first.status != http.StatusBadRequest && first.status < http.StatusInternalServerError {
		first.send(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := h.cfg.Pool.Ping(ctx); err != nil {
		h.fail(w, r, err)
		return
	}
	h.askRiver(r).send(w)
}

func (h *Handler) askRiver(r *http.Request) *answer {
	var a answer
	h.river.ServeHTTP(&a, r)
	return &a
}
