package webui_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/worker"
)

// newHandler returns a handler on a database of its own. configure, if not nil, changes its configuration.
func newHandler(t *testing.T, configure func(*webui.Config)) (*webui.Handler, *iutest.DB) {
	t.Helper()
	db := iutest.New(t)
	return handlerOn(t, db, configure), db
}

func handlerOn(t *testing.T, db *iutest.DB, configure func(*webui.Config)) *webui.Handler {
	t.Helper()
	cfg := webui.Config{Pool: db.Pool, Version: "1.2.3", Logger: slog.New(slog.DiscardHandler)}
	if configure != nil {
		configure(&cfg)
	}
	handler, err := webui.New(cfg)
	require.NoError(t, err)
	require.NoError(t, handler.Start())
	t.Cleanup(handler.Stop)
	return handler
}

// operating is a database with a worker and pages.
type operating struct {
	handler  *webui.Handler
	db       *iutest.DB
	template uuid.UUID
	log      *iutest.Log
}

// patience is how long a condition may take on a busy machine.
const patience = 90 * time.Second

func setupOperating(t *testing.T, configure ...func(*webui.Config)) operating {
	t.Helper()
	return operateOn(t, iutest.New(t), configure...)
}

// operateOn starts a worker on a database, waits until it is ready, and returns it with its pages.
func operateOn(t *testing.T, db *iutest.DB, configure ...func(*webui.Config)) operating {
	t.Helper()
	b := operating{db: db, log: &iutest.Log{}}
	b.template = b.db.Template(t, "letter", 3)
	pool, err := pgxpool.New(t.Context(), b.db.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	logger := slog.New(slog.NewTextHandler(b.log, nil))
	w, err := worker.New(worker.Config{Pool: pool, Logger: logger, Version: "1.2.3", Concurrency: 10})
	require.NoError(t, err)
	require.NoError(t, w.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, w.Stop(context.WithoutCancel(t.Context()))) })
	iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience) // its listener connects after Start
	b.handler = handlerOn(t, b.db, func(cfg *webui.Config) {
		cfg.Credentials, cfg.Ready, cfg.Logger = credentials(t), w.Ready, logger
		for _, c := range configure {
			c(cfg)
		}
	})
	return b
}

// insert inserts events as an application does, and returns their ids in the order of the suffixes.
func (b operating) insert(t *testing.T, template uuid.UUID, suffixes ...string) []uuid.UUID {
	t.Helper()
	ids := make([]uuid.UUID, len(suffixes))
	for i, suffix := range suffixes {
		ids[i] = uuid.New()
		b.db.Exec(t, `
			INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
			VALUES ($1, 'order.placed', $2, $3, 'shop <1>')`, ids[i], template, suffix)
	}
	return ids
}

func (b operating) waitState(t *testing.T, event uuid.UUID, state string) {
	t.Helper()
	b.db.WaitFor(t, patience, "SELECT state = $2 FROM iu_outbox.event_state($1)", event, state)
}

func (b operating) waitAnnounced(t *testing.T, n int) {
	t.Helper()
	b.db.WaitFor(t, patience, "SELECT position = $1 FROM iu_outbox.emission_counter", n)
}

func (b operating) waitCompleted(t *testing.T, n int) {
	t.Helper()
	b.db.WaitFor(t, patience, "SELECT count(*) = $1 FROM iu_river.river_job WHERE state = 'completed'", n)
}

// get returns a page, which must have the status 200.
func (b operating) get(t *testing.T, path string, changes ...func(*http.Request)) string {
	t.Helper()
	w := serve(b.handler, http.MethodGet, path, nil, append([]func(*http.Request){asOperator}, changes...)...)
	require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
	return w.Body.String()
}

// shows requires that a page contains a text. A failure prints the page from its heading on.
func shows(t *testing.T, page, text string, about ...any) {
	t.Helper()
	if strings.Contains(page, text) {
		return
	}
	if _, content, ok := strings.Cut(page, "</h1>"); ok {
		page = content
	}
	require.FailNow(t, "not on the page", "%q %v\n%.3000s", text, about, page)
}

// post sends a form, as a browser does.
func (b operating) post(path string, form url.Values, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	changes = append([]func(*http.Request){
		asOperator, with("Content-Type", "application/x-www-form-urlencoded"), with("Sec-Fetch-Site", "same-origin"), with("Accept", "text/html"),
	}, changes...)
	return serve(b.handler, http.MethodPost, path, strings.NewReader(form.Encode()), changes...)
}

// done follows the redirect after a change, and requires that the page reports the change.
func (b operating) done(t *testing.T, w *httptest.ResponseRecorder, says string) {
	t.Helper()
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
	shows(t, b.get(t, w.Header().Get("Location")), `role="status">`+says)
}

func (b operating) audit(t *testing.T) []operate.AuditLine {
	t.Helper()
	lines, err := operate.Audit(t.Context(), b.db.Pool, 0, 100)
	require.NoError(t, err)
	return lines
}

// serve serves one request, after the changes were applied to it.
func serve(handler http.Handler, method, path string, body io.Reader, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, body)
	for _, change := range changes {
		change(r)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}
