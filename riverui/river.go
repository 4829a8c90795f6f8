package webui

import (
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
