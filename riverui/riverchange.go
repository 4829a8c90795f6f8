package webui

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"riverqueue.com/riverui"

	"github.com/iu-core/iuworker/jobs"
)

// errRefused rolls back a change that River UI refused; the caller gets River UI's response.
var errRefused = errors.New("refused by River UI")

// riverChange lets River UI make a change in the transaction of its audit line.
func (h *Handler) riverChange(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, h.at("riverui"))
	action, about, ok := riverAction(r.Method, path)
	if !ok {
		h.say(w, r, http.StatusNotFound, "River UI has no change %s %s", r.Method, printable(path))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.fail(w, r, unreadable(err, "the request is incomplete"))
		return
	}
	var request map[string]json.RawMessage
	if err := json.Unmarshal(body, &request); err != nil && len(body) > 0 {
		h.say(w, r, http.StatusBadRequest, "the request must be a JSON object")
		return
	}
	for _, name := range []string{"ids", "concurrency"} {
		if value, given := request[name]; given {
			about[name] = value
		}
	}
	var got response
	err = h.operator(r).Change(r.Context(), action, about, func(tx pgx.Tx) error {
		inTx, err := h.riverUI(&tx)
		if err != nil {
			return err
		}
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		inTx.ServeHTTP(&got, again)
		if got.status >= http.StatusBadRequest {
			return errRefused
		}
		return nil
	})
	if err != nil && !errors.Is(err, errRefused) {
		h.fail(w, r, err)
		return
	}
	got.send(w)
}

// riverAction returns the change that a request to River UI makes, and the details that its path names.
func riverAction(method, path string) (action string, about map[string]any, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/") // api, jobs, cancel, or api, queues, a name, pause
	switch {
	case method == http.MethodPost && len(parts) == 3 && parts[1] == "jobs":
		return "job." + parts[2], map[string]any{}, true
	case method == http.MethodPut && len(parts) == 4 && parts[1] == "queues":
		return "queue." + parts[3], map[string]any{"queue": parts[2]}, true
	case method == http.MethodPatch && len(parts) == 3 && parts[1] == "queues":
		return "queue.update", map[string]any{"queue": parts[2]}, true
	default:
		return "", nil, false
	}
}

// response records a response, so that it can be sent later or not at all.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *response) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *response) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *response) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

func (a *response) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(cmp.Or(a.status, http.StatusOK))
	_, _ = a.body.WriteTo(w) // if this fails, the client has disconnected
}

// newRiverClient returns a client of our River that works no jobs.
func newRiverClient(cfg Config) (*river.Client[pgx.Tx], error) {
	client, err := river.NewClient(riverpgxv5.New(cfg.Pool), &river.Config{Schema: jobs.RiverSchema, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("set River up: %w", err)
	}
	return client, nil
}

// riverUI returns River UI below /riverui/ of the base path: over the client's pool, with startRiver for the counts of jobs
// that it keeps, or, for one change, in a transaction.
func (h *Handler) riverUI(tx *pgx.Tx) (*riverui.Handler, error) {
	handler, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(h.riverClient, &riverui.EndpointsOpts[pgx.Tx]{Tx: tx}),
		Logger:    h.cfg.Logger,
		Prefix:    h.cfg.BasePath + "/riverui",
	})
	if err != nil {
		return nil, fmt.Errorf("set River UI up: %w", err)
	}
	return handler, nil
}
