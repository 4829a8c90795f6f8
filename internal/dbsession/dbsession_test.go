package dbsession_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/iutest"
)

func TestMain(m *testing.M) { iutest.Main(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	return connectConfig(t, cfg)
}

func connectConfig(t *testing.T, cfg *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	dbsession.Prepare(cfg)
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func show(t *testing.T, conn *pgx.Conn, name string) (value string) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT pg_catalog.current_setting($1)", name).Scan(&value))
	return value
}

// ours is what our sessions have whatever a database says.
var ours = map[string]string{
	"array_nulls":                         "on",
	"backslash_quote":                     "safe_encoding",
	"bytea_output":                        "hex",
	"client_encoding":                     "UTF8",
	"client_min_messages":                 "notice",
	"DateStyle":                           "ISO, MDY",
	"default_transaction_deferrable":      "off",
	"default_transaction_isolation":       "read committed",
	"default_transaction_read_only":       "off",
	"enable_indexscan":                    "on",
	"enable_nestloop":                     "on",
	"exit_on_error":                       "off",
	"extra_float_digits":                  "1",
	"gin_fuzzy_search_limit":              "0",
	"idle_in_transaction_session_timeout": "20s",
	"idle_session_timeout":                "0",
	"IntervalStyle":                       "postgres",
	"jit":                                 "off",
	"lock_timeout":                        "0",
	"plan_cache_mode":                     "auto",
	"plpgsql.extra_errors":                "none",
	"plpgsql.extra_warnings":              "none",
	"quote_all_identifiers":               "off",
	"row_security":                        "off",
	"search_path":                         "pg_catalog, public, pg_temp",
	"session_replication_role":            "origin",
	"standard_conforming_strings":         "on",
	"statement_timeout":                   "0",
	"synchronous_commit":                  "on",
	"TimeZone":                            "UTC",
	"transaction_timeout":                 "0",
	"transform_null_equals":               "off",
	"xmloption":                           "content",
}

func TestSessionsBeginWithOurSettings(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.MakeHostile(t)
	conn := connect(t, db.URL)
	for name := range iutest.HostileSettings {
		if name == "plpgsql.variable_conflict" || name == "transaction_timeout" && db.Version(t) < 17 {
			continue // our functions mean the same under each
		}
		require.Equal(t, ours[name], show(t, conn, name), name)
	}
	for name, value := range map[string]string{
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3", "tcp_user_timeout": "20000",
	} {
		require.Equal(t, value, show(t, conn, name), name)
	}
}

// The search path may find other functions and operators first under the names that we use.
func TestSessionsBeginWhateverTheSearchPathFinds(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, `
		CREATE SCHEMA evil;
		CREATE FUNCTION evil.no(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
		CREATE FUNCTION evil.no(integer, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil'; END $$;
		CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.no);
		CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.no);
		CREATE OPERATOR evil.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.no);
		ALTER DATABASE `+db.Name+` SET search_path = evil, pg_catalog`)
	require.Equal(t, "pg_catalog, public, pg_temp", show(t, connect(t, db.URL), "search_path"))
}

// An administrator may choose to wait for more than a local flush.
func TestStrongerCommitsAreKept(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "ALTER DATABASE "+db.Name+" SET synchronous_commit = remote_apply")
	require.Equal(t, "remote_apply", show(t, connect(t, db.URL), "synchronous_commit"))
}

// Settings of an address are set after the start, since poolers accept them only then. They cannot override what we need.
func TestAddressesChoose(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE ROLE dbsession_chosen")
	t.Cleanup(func() { db.Exec(t, "DROP ROLE dbsession_chosen") })
	cfg, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	maps.Copy(cfg.RuntimeParams, map[string]string{
		"statement_timeout": "1234", "search_path": "nowhere", "role": "dbsession_chosen", "datestyle": "German", "application_name": "shop",
		"options": `-c lock_timeout=3s -cjit=on --work-mem=5MB -c iu_outbox.note=a\ b\\c -c log_connections=on -c default_transaction_isolation=serializable`,
	})
	conn := connectConfig(t, cfg)
	require.ElementsMatch(t,
		[]string{"application_name", "client_encoding", "DateStyle", "log_connections", "standard_conforming_strings", "TimeZone"},
		keys(cfg.RuntimeParams), "PgBouncer takes no others, and the server takes log_connections at no other time")
	for name, value := range map[string]string{
		"statement_timeout": "1234ms", "lock_timeout": "3s", "jit": "on", "work_mem": "5MB", "iu_outbox.note": `a b\c`, "role": "dbsession_chosen",
		"application_name": "shop", "search_path": "pg_catalog, public, pg_temp", "DateStyle": "ISO, MDY",
		"default_transaction_isolation": "read committed", "log_connections": "on",
	} {
		require.Equal(t, value, show(t, conn, name), name)
	}

	cfg, err = pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	cfg.RuntimeParams["no_such_setting"] = "1"
	dbsession.Prepare(cfg)
	_, err = pgx.ConnectConfig(t.Context(), cfg)
	require.ErrorContains(t, err, `unrecognized configuration parameter "no_such_setting"`)
}

func keys(m map[string]string) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	return names
}

func TestPreparingTwiceIsPreparingOnce(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig(iutest.Empty(t).URL)
	require.NoError(t, err)
	cfg.RuntimeParams["statement_timeout"] = "7s"
	dbsession.Prepare(cfg)
	require.Equal(t, "7s", show(t, connectConfig(t, dbsession.Prepared(cfg)), "statement_timeout"))
}

// A login that cannot leave the replication role is refused: there, foreign keys are not checked.
func TestReplicasAreRefusedWhereTheyCannotBeLeft(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE ROLE dbsession_replica; ALTER ROLE dbsession_replica SET session_replication_role = replica")
	t.Cleanup(func() { db.Exec(t, "DROP ROLE dbsession_replica") })
	cfg, err := pgx.ParseConfig(db.URLAs("dbsession_replica"))
	require.NoError(t, err)
	dbsession.Prepare(cfg)
	_, err = pgx.ConnectConfig(t.Context(), cfg)
	require.ErrorContains(t, err, "ALTER ROLE or ALTER DATABASE ... RESET")
	require.ErrorContains(t, err, `"session_replication_role"`)
}

// The first write that a read-only server refuses closes its connection, and the others of its pool before they are used.
func TestReadOnlyServersAreLeft(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	cfg, err := pgxpool.ParseConfig(db.URL + "&pool_max_conns=4")
	require.NoError(t, err)
	dbsession.PreparePool(cfg)
	dbsession.PreparePool(cfg) // does nothing
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	pids := func() map[uint32]bool {
		found := map[uint32]bool{}
		var conns []*pgxpool.Conn
		for range 4 {
			conn, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			conns = append(conns, conn)
			found[conn.Conn().PgConn().PID()] = true
		}
		for _, conn := range conns {
			conn.Release()
		}
		return found
	}
	before := pids()
	require.Equal(t, before, pids(), "they are kept while all is well")
	db.Exec(t, "ALTER SYSTEM SET default_transaction_read_only = on")
	db.Exec(t, "SELECT pg_reload_conf()")
	iutest.Eventually(t, func() bool { // the server reads its files when it gets to it
		_, err := pool.Exec(t.Context(), "CREATE TABLE public.refused ()")
		if err == nil {
			_, err = pool.Exec(t.Context(), "DROP TABLE public.refused")
		}
		return dbsession.ReadOnlyError(err)
	}, patience)
	for pid := range pids() {
		require.NotContains(t, before, pid)
	}
}

// A reader leaves, too, although none of its queries fails.
func TestReadersLeaveServersThatBecameReadOnly(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	cfg, err := pgxpool.ParseConfig(db.URL + "&pool_max_conns=1")
	require.NoError(t, err)
	dbsession.PreparePool(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	pid := func() (pid uint32) {
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
		return pid
	}
	first := pid()
	require.Equal(t, first, pid())
	db.Exec(t, "ALTER SYSTEM SET default_transaction_read_only = on")
	db.Exec(t, "SELECT pg_reload_conf()")
	iutest.Eventually(t, func() bool { return pid() != first }, patience)
	second := pid()
	require.Equal(t, second, pid(), "one that was read-only from the start is a choice")
}

func TestConnectionsLiveTenMinutes(t *testing.T) {
	t.Parallel()
	for address, minutes := range map[string]float64{"host=a": 10, "host=a pool_max_conn_lifetime=1h": 60} {
		cfg, err := pgxpool.ParseConfig(address)
		require.NoError(t, err)
		dbsession.PreparePool(cfg)
		require.InDelta(t, minutes, (cfg.MaxConnLifetime + cfg.MaxConnLifetimeJitter).Minutes(), 0.1)
	}
}

func TestWayOut(t *testing.T) {
	t.Parallel()
	for code, out := range map[string]string{
		"42P05": "default_query_exec_mode", "26000": "default_query_exec_mode", "25006": "primary", "42P01": "",
	} {
		require.Contains(t, dbsession.WayOut(fmt.Errorf("ask: %w", &pgconn.PgError{Code: code})), out)
	}
}
