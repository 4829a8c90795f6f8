package tracing_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/iu-core/iuworker/internal/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEndpoint(t *testing.T) {
	t.Parallel()
	type env map[string]string
	for _, c := range []struct {
		given string
		env   env
		want  string
	}{
		{"", nil, ""},
		{"http://collector:4318", nil, "http://collector:4318/v1/traces"},
		{"https://collector/otlp/", nil, "https://collector/otlp/v1/traces"},
		{"", env{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"},
		{"", env{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/here", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://d"}, "http://c/here"},
		{"http://given", env{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://given/v1/traces"},
		{"http://given", env{"OTEL_SDK_DISABLED": "true"}, ""},
	} {
		got, err := tracing.Endpoint(c.given, func(name string) string { return c.env[name] })
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, wrong := range []string{"collector:4318", "grpc://collector", "/v1/traces", "http://", "http://user:secret@%zz"} {
		_, err := tracing.Endpoint(wrong, func(string) string { return "" })
		require.ErrorIs(t, err, tracing.ErrEndpoint, wrong)
		require.NotContains(t, err.Error(), "secret")
	}
}

// If the receiver refuses spans, the only effect is one line in the log.
func TestAReceiverThatFails(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer receiver.Close()
	var log bytes.Buffer
	p, err := tracing.New(t.Context(), tracing.Config{Endpoint: receiver.URL + "/v1/traces", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	for range 3 {
		_, span := p.Tracer("t").Start(t.Context(), "s")
		span.End()
		require.NoError(t, p.ForceFlush(t.Context()))
	}
	require.NoError(t, p.Stop(t.Context()))
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("Tracing: receiver lost")), log.String())
}
