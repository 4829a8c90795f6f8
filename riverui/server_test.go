package webui_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

func TestServerServesUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	streaming := make(chan struct{})
	handler, _ := newHandler(t, func(cfg *webui.Config) {
		cfg.Events = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			close(streaming)
			<-r.Context().Done()
		})
	})
	server, err := webui.Listen(t.Context(), "127.0.0.1:0", handler)
	require.NoError(t, err)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()

	stream, err := http.Get(server.URL() + "v1/events")
	require.NoError(t, err)
	defer func() { _ = stream.Body.Close() }()
	<-streaming
	end()
	require.NoError(t, <-served)
	_, err = io.ReadAll(stream.Body)
	require.NoError(t, err, "the stream ends in order")
	again, err := http.Get(server.URL())
	if err == nil {
		_ = again.Body.Close()
	}
	require.Error(t, err, "nobody listens any more")
	http.DefaultClient.CloseIdleConnections()
}

func TestListenSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	handler, db := newHandler(t, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()

	for addr, says := range map[string]string{
		taken.Addr().String(): "cannot listen on " + taken.Addr().String() + ": the port is taken; choose another with --http-addr or set it to off",
		"0.0.0.0:0":           "refusing to serve the pages on 0.0.0.0:0 without credentials",
		":0":                  "refusing to serve the pages on :0 without credentials",
		"8080":                `"8080": it must be host:port such as 127.0.0.1:8080, or off`,
		"127.0.0.1:http":      "it must be host:port",
		"192.0.2.7:0":         "this machine does not have that address",
	} {
		_, err := webui.Listen(t.Context(), addr, handler)
		require.ErrorContains(t, err, says, addr)
	}
	metrics, err := webui.NewMetrics(webui.Config{Pool: db.Pool, Metrics: http.NotFoundHandler()})
	require.NoError(t, err)
	_, err = webui.Listen(t.Context(), "0.0.0.0:0", metrics)
	require.EqualError(t, err, "refusing to serve the metrics on 0.0.0.0:0 without credentials: other machines can reach it; "+
		"give --metrics-token-file or --http-credentials-file, --metrics-open if everybody may read them, or listen on 127.0.0.1:9464")
	off, err := webui.Listen(t.Context(), webui.Off, handler)
	require.NoError(t, err)
	require.Nil(t, off)
}
