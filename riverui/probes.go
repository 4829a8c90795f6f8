package webui

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/singleflight"

	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

var readyTimeout = 2 * time.Second

// probes serves orchestrators and load balancers, which have no credentials.
type probes struct {
	ready     func(context.Context) error
	timeout   time.Duration     // of ready
	databases func() []Database // nil: there is one
	warning   func() string     // what is not as it should be, although the process is ready; "" if nothing is. Default: nil
	once      singleflight.Group
}

func (p *probes) alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok")) // if this fails, the client has disconnected
}

func (p *probes) serveReady(w http.ResponseWriter, r *http.Request) {
	if p.databases != nil {
		p.serveReadyOfAll(w, r)
		return
	}
	if err := p.check(r.Context()); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reason": readyReason(err)})
		return
	}
	state := map[string]any{"ready": true}
	if p.warning != nil {
		if warning := p.warning(); warning != "" {
			state["warning"] = warning
		}
	}
	writeJSON(w, http.StatusOK, state)
}

// unready is a database that cannot be worked on.
type unready struct {
	Database string `json:"database"`
	Reason   string `json:"reason"`
}

// readiness is the response for several databases.
type readiness struct {
	Ready     bool      `json:"ready"`
	Databases int       `json:"databases"`
	NotReady  []unready `json:"not_ready"` // in the order of Config.Databases
}

// serveReadyOfAll names the databases that cannot be worked on. The process is ready if it can work on one of them: a database that
// is away must not take the others' pages from a load balancer, or stop a rolling deployment.
func (p *probes) serveReadyOfAll(w http.ResponseWriter, r *http.Request) {
	all := p.databases()
	failed := make([]error, len(all))
	var checking sync.WaitGroup
	for i, d := range all {
		checking.Go(func() { failed[i] = d.ready(r.Context()) })
	}
	checking.Wait()
	state := readiness{Databases: len(all), NotReady: []unready{}}
	for i, err := range failed {
		if err != nil {
			state.NotReady = append(state.NotReady, unready{Database: all[i].Name, Reason: readyReason(err)})
		}
	}
	status := http.StatusServiceUnavailable
	if state.Ready = len(state.NotReady) < len(all); state.Ready {
		status = http.StatusOK
	}
	writeJSON(w, status, state)
}

// errDoesNotRun is why a database without pages is not ready; the reason itself may name hosts and logins.
var errDoesNotRun = errors.New("its worker does not run; the log and the pages say why")

// check runs once for all requests that wait for it, so that probes cannot keep the database busy.
func (p *probes) check(ctx context.Context) error {
	shared := context.WithoutCancel(ctx)
	checked := p.once.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(shared, p.timeout)
		defer cancel()
		return nil, p.ready(ctx)
	})
	patient, cancel := context.WithTimeout(ctx, p.timeout+time.Second) // Ready may not watch its context
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
