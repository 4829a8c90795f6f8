package webui

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/singleflight"

	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

const readyTimeout = 2 * time.Second

// probes serves orchestrators and load balancers, which have no credentials.
type probes struct {
	ready func(context.Context) error
	once  singleflight.Group
}

func (p *probes) alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok")) // if this fails, the client has disconnected
}

func (p *probes) serveReady(w http.ResponseWriter, r *http.Request) {
	if err := p.check(r.Context()); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": readyReason(err)})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ready": true})
}

// check runs once for all requests that wait for it, so that probes cannot keep the database busy.
func (p *probes) check(ctx context.Context) error {
	shared := context.WithoutCancel(ctx)
	checked := p.once.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(shared, readyTimeout)
		defer cancel()
		return nil, p.ready(ctx)
	})
	patient, cancel := context.WithTimeout(ctx, readyTimeout+time.Second) // Ready may not watch its context
	defer cancel()
	select {
	case result := <-checked:
		return result.Err
	case <-patient.Done():
		return patient.Err()
	}
}

// readyReason returns what is wrong without the address of the database and its logins: anybody may request a probe.
func readyReason(err error) string {
	var connect *pgconn.ConnectError
	var parse *pgconn.ParseConfigError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "the database does not reply within " + readyTimeout.String()
	case errors.As(err, &connect), errors.As(err, &parse):
		return "cannot connect to the database; the log says why"
	default:
		return dberror.Redact(err.Error())
	}
}
