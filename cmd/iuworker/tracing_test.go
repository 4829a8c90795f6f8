package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestWorkSendsItsLastSpans(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 2)
	var sent atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			sent.Add(1)
		}
	}))
	defer receiver.Close()
	_, log, stop := working(t, db, "--otlp-endpoint", receiver.URL)
	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.Equal(t, exitDone, stop(), log.String())
	require.Positive(t, sent.Load())
}

func TestAWrongReceiverIsWrongUsage(t *testing.T) {
	t.Parallel()
	run(t, nil, "work", "--otlp-endpoint", "collector:4317").failed(t, exitUsage, "--otlp-endpoint: ")
	run(t, environment{"OTEL_EXPORTER_OTLP_ENDPOINT": "grpc://collector"}, "work", "--database-url", nowhere).
		failed(t, exitUsage, "$OTEL_EXPORTER_OTLP_ENDPOINT: ")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NotContains(t, runWith(ctx, nil, "dev", "--otlp-endpoint", "http://me:"+secret+"@%zz").errOut, secret)
}
