package worker_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
	"github.com/iu-core/iuworker/internal/proxytest"
	"github.com/iu-core/iuworker/worker"
)

// preparedPool opens a pool in the same way as the program.
func preparedPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	cfg.MaxConns = 16
	dbsession.PreparePool(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// The server becomes read-only and the address leads to another primary, but open sessions stay connected.
func TestReadOnlyServerIsLeft(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	standby, promoted := iutest.Standby(t, db, pgserver.StandbyConfig{})
	address := iutest.NewSwitch(t, db.Host())
	w := start(t, db, func(c *worker.Config) { c.Pool = preparedPool(t, db.URLAt(address.Addr)) })
	for _, suffix := range []string{"1", "2", "3"} {
		insert(t, db, template, suffix)
	}
	eventually(t, db, "SELECT count(*) = 3 FROM iu_outbox.emission WHERE position IS NOT NULL")
	eventually(t, db, idleJobs)

	db.Exec(t, "ALTER SYSTEM SET default_transaction_read_only = on")
	db.Exec(t, "SELECT pg_reload_conf()")
	iutest.Eventually(t, func() bool { return w.Ready(t.Context()) != nil }, patience)
	require.ErrorIs(t, w.Ready(t.Context()), worker.ErrNotReady)

	require.NoError(t, promoted.AwaitReplay(t.Context()))
	require.NoError(t, promoted.Promote(t.Context()))
	began := time.Now()
	address.Lead(standby.Host())
	for _, suffix := range []string{"4", "5", "6"} {
		insert(t, standby, template, suffix)
	}
	eventually(t, standby, "SELECT count(*) = 6 FROM iu_outbox.emission WHERE position IS NOT NULL")
	t.Logf("announced %s after the address led to the new primary", time.Since(began).Round(time.Millisecond))
	iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
	t.Logf("ready after %s", time.Since(began).Round(time.Millisecond))
	require.Less(t, time.Since(began), 50*time.Second, "no part waits for its next round, which may be a minute away")
	eventually(t, standby, relaySleeps)                   // its session has moved as well
	db.Exec(t, "SET default_transaction_read_only = off") // for the cleanup of the test
}

const idleJobs = `SELECT NOT EXISTS (SELECT FROM iu_river.river_job WHERE finalized_at IS NULL)`

// PgBouncer keeps the sockets of its clients, and those to a server that became read-only, until RECONNECT tells it to leave. Of the
// two workers one goes through a pool in session mode, and one through a pool in transaction mode.
func TestPgBouncerFollowsTheRoles(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	standby, promoted := iutest.Standby(t, db, pgserver.StandbyConfig{})
	address := iutest.NewSwitch(t, db.Host())
	behind := *db
	behind.URL = db.URLAt(address.Addr)
	var urls []string
	var workers []*worker.Worker
	for _, mode := range []string{"session", "transaction"} {
		url := proxytest.Bouncer(t, &behind, mode)
		pool := preparedPool(t, url+"&default_query_exec_mode=cache_describe")
		urls = append(urls, url)
		workers = append(workers, start(t, db, polling(200*time.Millisecond), func(c *worker.Config) { c.Pool = pool }))
	}
	ready := func(want bool) {
		t.Helper()
		for _, w := range workers {
			iutest.Eventually(t, func() bool { return (w.Ready(t.Context()) == nil) == want }, patience)
		}
	}
	insert(t, db, template, "1")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	eventually(t, db, idleJobs)

	db.Exec(t, "ALTER SYSTEM SET default_transaction_read_only = on")
	db.Exec(t, "SELECT pg_reload_conf()")
	ready(false)
	require.NoError(t, promoted.AwaitReplay(t.Context()))
	require.NoError(t, promoted.Promote(t.Context()))
	address.Lead(standby.Host())
	insert(t, standby, template, "2")
	for _, url := range urls {
		admin, err := pgx.ParseConfig(url + "&default_query_exec_mode=simple_protocol")
		require.NoError(t, err)
		admin.Database = "pgbouncer"
		conn, err := pgx.ConnectConfig(t.Context(), admin)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "RECONNECT")
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
	eventually(t, standby, "SELECT count(*) = 2 FROM iu_outbox.emission WHERE position IS NOT NULL")
	ready(true)
}

// A worker works through PgBouncer in each pool mode, and leaves no session state behind for other clients.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			db.Exec(t, "ALTER DATABASE "+db.Name+" SET work_mem = '5MB'; ALTER DATABASE "+db.Name+" SET default_transaction_isolation = 'serializable'")
			url := proxytest.Bouncer(t, db, mode)
			log, lines := logging(t)
			pool := preparedPool(t, url+"&default_query_exec_mode=cache_describe&options=-c%20work_mem%3D7MB&statement_timeout=60000")
			w := start(t, db, polling(20*time.Millisecond), func(c *worker.Config) { c.Pool, c.Logger = pool, log })
			conn, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			require.Equal(t, mode == "transaction", dbsession.Multiplexed(conn.Conn().PgConn()))
			var memory, isolation string
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_setting('work_mem'), current_setting('default_transaction_isolation')").
				Scan(&memory, &isolation))
			conn.Release()
			if mode == "session" {
				require.Equal(t, []string{"7MB", "read committed"}, []string{memory, isolation})
				require.Zero(t, lines.Count("polling instead"))
			} else {
				require.Equal(t, []string{"5MB", "serializable"}, []string{memory, isolation}, "it would be others', too")
				require.Equal(t, 1, lines.Count("polling instead"))
			}
			for _, suffix := range []string{"1", "2", "3", "4", "5"} {
				insert(t, db, template, suffix)
			}
			eventually(t, db, "SELECT count(*) = 5 FROM iu_outbox.emission WHERE position IS NOT NULL")
			iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
			require.NoError(t, w.Stop(t.Context()))
			pool.Close()
			left := preparedPool(t, url+"&default_query_exec_mode=cache_describe")
			for range 16 {
				conn, err := left.Acquire(t.Context())
				require.NoError(t, err)
				t.Cleanup(conn.Release) // each round acquires another connection
				var channels, locks int
				require.NoError(t, conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_listening_channels()),
					(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())`).Scan(&channels, &locks))
				require.Zero(t, channels+locks)
			}
		})
	}
}
