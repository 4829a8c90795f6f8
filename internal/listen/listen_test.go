package listen_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/listen"
)

func TestMain(m *testing.M) { iutest.Main(m) }

const patience = 90 * time.Second

func direct(t *testing.T, db *iutest.DB) *pgx.ConnConfig {
	t.Helper()
	cfg, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	return cfg
}

func hear(t *testing.T, bell listen.Bell) {
	t.Helper()
	select {
	case <-bell:
	case <-time.After(patience):
		require.FailNow(t, "the bell does not ring")
	}
}

func TestListenerRingsForNotificationsAndReconnects(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	l := listen.New(listen.Config{Pool: db.Pool, Direct: direct(t, db), Logger: slog.New(slog.DiscardHandler)})
	first, second := l.On("a.channel"), l.On("a.channel")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	for range 3 {
		hear(t, first) // the listener is connected
		hear(t, second)
		iutest.Eventually(t, l.Up, patience)
		db.Exec(t, `SELECT pg_notify('a.channel', '')`)
		hear(t, first)
		hear(t, second)
		db.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen %'`)
	}
	stop()
	require.NoError(t, <-ended)
}

func TestWorks(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	works, err := listen.WorksWithin(t.Context(), patience, db.Pool, direct(t, db))
	require.NoError(t, err)
	require.True(t, works)

	other := iutest.Empty(t) // notifications do not come through, as behind a pooler
	works, err = listen.Works(t.Context(), db.Pool, direct(t, other))
	require.NoError(t, err)
	require.False(t, works)

	nowhere := direct(t, db)
	nowhere.Host, nowhere.Port = "127.0.0.1", 1
	_, err = listen.Works(t.Context(), db.Pool, nowhere)
	require.ErrorContains(t, err, "connect to listen")
}

// KeepAlive keeps the DialFunc of a configuration.
func TestKeepAliveKeepsTheDialer(t *testing.T) {
	t.Parallel()
	dialed := false
	cfg := direct(t, iutest.Empty(t))
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed = true
		return dial(ctx, network, address)
	}
	conn, err := pgx.ConnectConfig(t.Context(), listen.KeepAlive(cfg))
	require.NoError(t, err)
	require.True(t, dialed)
	require.NoError(t, conn.Close(t.Context()))
}

// Whoever waits for the bell learns that it may not ring for a while.
func TestListenerRingsWhenItsConnectionIsLost(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	cfg := direct(t, db)
	dial, dials := cfg.DialFunc, 0
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, net.ErrClosed
		}
		return dial(ctx, network, address)
	}
	l := listen.New(listen.Config{Pool: db.Pool, Direct: cfg, Logger: slog.New(slog.DiscardHandler), PingInterval: -1})
	bell := l.On("a.channel", "another.channel")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	iutest.Eventually(t, l.Up, patience)
	for _, channel := range []string{"a.channel", "another.channel"} {
		db.Exec(t, "SELECT pg_notify($1, '')", channel)
		hear(t, bell)
	}
	db.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen %'`)
	iutest.Eventually(t, func() bool { hear(t, bell); return !l.Up() }, patience)
	stop()
	require.NoError(t, <-ended)
}
