package webui_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/sql/iutest"
)

// newHandler makes a handler on a database of its own; configure may change its configuration before.
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
	require.NoError(t, handler.Start(t.Context()))
	t.Cleanup(handler.Stop)
	return handler
}

// serve answers one request; each change may alter it.
func serve(handler http.Handler, method, path string, body io.Reader, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, body)
	for _, change := range changes {
		change(r)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}
