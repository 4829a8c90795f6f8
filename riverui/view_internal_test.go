package webui

import (
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

func init() { //nolint:gochecknoinits // templates cannot be added after one was executed
	template.Must(htmlTemplates.New("test.html").Parse(`{{template "head" .}}<h1>Test</h1>
{{.Section "one"}}
{{.Section "two"}}
{{template "foot" .}}`))
	template.Must(htmlTemplates.New("test-one").Parse(`<p>{{.Value}}</p>`))
	template.Must(htmlTemplates.New("test-two").Parse(`<p>{{.Value}}</p>`))
}

// NewTestView returns the handler of a page with two sections, for which its frame waits for patience. Its database is unreachable.
func NewTestView(t *testing.T, patience time.Duration, one, two func() (string, error)) http.Handler {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), "postgres://127.0.0.1:1/none")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	h, err := New(Config{Pool: pool, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, h.Start())
	t.Cleanup(h.Stop)
	cache := cached[string]{read: func(context.Context) (string, error) { return one() }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := h.view(r, "Test", "test")
		v.patience, v.Lost = patience, nil
		add(v, "one", "One", cache.get)
		add(v, "two", "", func(context.Context) reading[string] { return fresh(two()) })
		h.serve(w, r, v)
	})
}
