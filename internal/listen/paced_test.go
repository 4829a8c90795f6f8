package listen_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/listen"
)

// A flood of notifications does not exceed the limit of rings, and a ring follows the last notification.
func TestFloodRingsSeldom(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	l := listen.New(listen.Config{Pool: db.Pool, Direct: direct(t, db), Logger: slog.New(slog.DiscardHandler), PingInterval: -1})
	flooded, wanted := l.On("flood"), l.OnPayload("flood", func(payload string) bool { return payload == "wanted" })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	hear(t, flooded) // the listener is connected
	hear(t, wanted)

	began, rings := time.Now(), 0
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 20 {
			_, _ = db.Pool.Exec(ctx, "SELECT pg_notify('flood', g || repeat('x', 1000)) FROM generate_series(1, 1000) AS g")
		}
		_, _ = db.Pool.Exec(ctx, "SELECT pg_notify('flood', 'wanted')")
	}()
	for heard := false; !heard; {
		select {
		case <-flooded:
			rings++
		case <-wanted:
			heard = true
		case <-time.After(patience):
			require.FailNow(t, "the last notification is lost")
		}
	}
	<-sent
	require.LessOrEqual(t, rings, 101+int(time.Since(began)/(5*time.Millisecond)))
	stop()
	require.NoError(t, <-ended)
}
