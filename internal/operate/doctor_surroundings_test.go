package operate_test

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// login makes a login that has some of our roles, and returns its name.
func login(t *testing.T, db *iutest.DB, roles ...string) string {
	t.Helper()
	name := "login_" + db.Name
	db.Exec(t, "CREATE ROLE "+name+" LOGIN")
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY "+name+"; DROP ROLE "+name) })
	for _, role := range roles {
		db.Exec(t, "GRANT "+role+" TO "+name)
	}
	return name
}

//nolint:tparallel,paralleltest // settings of logins are the whole server's: one case at a time
func TestDoctorNamesSettingsThatGetInTheWay(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	for name, test := range map[string]struct {
		statements, says, next string
		result                 operate.Health
	}{
		"harmless": {
			"ALTER ROLE $login SET search_path = nowhere; ALTER ROLE $login IN DATABASE $db SET jit = off; ALTER DATABASE $db SET statement_timeout = '30s'",
			"all harmless", "", operate.HealthOK,
		},
		"of a login": {
			"ALTER ROLE $login SET statement_timeout = '200ms'", "cut off", "ALTER ROLE \"$login\" RESET statement_timeout", operate.HealthWarn,
		},
		"without a unit": {"ALTER ROLE $login SET lock_timeout = 50", "cut off", "RESET lock_timeout", operate.HealthWarn},
		"of both": {
			"ALTER ROLE $login IN DATABASE $db SET synchronous_commit = off", "loses the latest commits",
			"ALTER ROLE \"$login\" IN DATABASE \"$db\" RESET synchronous_commit", operate.HealthWarn,
		},
		"of the database": {
			"ALTER DATABASE $db SET default_transaction_isolation = serializable", "40001",
			"ALTER DATABASE \"$db\" RESET default_transaction_isolation", operate.HealthWarn,
		},
		"read only": {
			"ALTER ROLE $login SET jit = on; ALTER ROLE $login SET default_transaction_read_only = true",
			"nothing can be inserted", "RESET default_transaction_read_only", operate.HealthFail,
		},
		"no triggers": {
			"ALTER ROLE $login SET session_replication_role = replica", "bypass triggers", "RESET session_replication_role", operate.HealthFail,
		},
		"another's rights": {"ALTER ROLE $login SET role = iu_subscriber", "privileges of that role", "RESET role", operate.HealthWarn},
		"idle":             {"ALTER ROLE $login SET idle_session_timeout = '1min'", "LISTEN", "RESET idle_session_timeout", operate.HealthWarn},
	} {
		t.Run(name, func(t *testing.T) {
			fill := strings.NewReplacer("$login", login(t, db, "iu_app"), "$db", db.Name)
			db.Exec(t, fill.Replace(test.statements))
			t.Cleanup(func() { db.Exec(t, "ALTER DATABASE "+db.Name+" RESET ALL") })
			check := checked(t, examine(t, db.URLAs("iu_operator")), "settings")
			require.Equal(t, test.result, check.Result, "%+v", check)
			require.Contains(t, check.Says+strings.Join(check.Details, "\n"), test.says)
			require.Contains(t, check.Next, fill.Replace(test.next))
			if test.result != operate.HealthOK {
				runNext(t, db, check.Next)
				require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "settings").Result)
			}
		})
	}
}

// runNext runs the statements of a command that the doctor gives, as psql would.
func runNext(t *testing.T, db *iutest.DB, next string) {
	t.Helper()
	for command := range strings.SplitSeq(next, " && ") {
		statement, ok := strings.CutPrefix(command, "psql -c '")
		require.True(t, ok, command)
		db.Exec(t, strings.ReplaceAll(strings.TrimSuffix(statement, "'"), `'\''`, "'"))
	}
}

// Settings of logins that are none of ours are not our business.
func TestDoctorLeavesOthersSettingsAlone(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "ALTER ROLE "+login(t, db)+" SET session_replication_role = replica")
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "settings").Result)
}

func TestDoctorNamesACollationThatChanged(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "collations").Result)
	db.Exec(t, "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()")
	check := checked(t, examine(t, db.URLAs("iu_operator")), "collations")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Contains(t, check.Details[0], "built with version 1.0")
	require.Equal(t,
		fmt.Sprintf(`psql -c 'REINDEX DATABASE CONCURRENTLY "%[1]s"' && psql -c 'ALTER DATABASE "%[1]s" REFRESH COLLATION VERSION'`+
			` && iuworker verify`, db.Name),
		check.Next)
	db.Exec(t, "UPDATE pg_database SET datcollversion = NULL WHERE datname = current_database()")

	db.Exec(t, `CREATE COLLATION other (provider = icu, locale = 'en'); CREATE INDEX odd ON iu_outbox.dead_letter (status COLLATE other)`)
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "collations").Result)
	db.Exec(t, "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'other'")
	check = checked(t, examine(t, db.URL), "collations")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Contains(t, check.Next, "ALTER COLLATION public.other REFRESH VERSION")
	db.Exec(t, "REINDEX INDEX iu_outbox.odd; ALTER COLLATION public.other REFRESH VERSION")
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "collations").Result)
}

func TestDoctorComparesPoolsWithWhatTheServerAllows(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	name := login(t, db, "iu_operator")
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.User = url.User(name)
	db.Exec(t, "ALTER ROLE "+name+" CONNECTION LIMIT 40")
	db.Exec(t, `INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version) VALUES ('a', 1, 'h', 1, '1')`)
	size := func(n int) func(*operate.DoctorConfig) {
		return func(c *operate.DoctorConfig) { c.PoolSize = n }
	}
	require.Equal(t, operate.HealthOK, checked(t, examine(t, u.String(), size(20)), "pool").Result)
	check := checked(t, examine(t, u.String(), size(50)), "pool")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Equal(t, "1 worker with 50 connections each, and 3 more that listen or hold locks, may open 53 sessions; "+
		"the connection limit of this login allows 40", check.Says)
	require.Equal(t, "iuworker work --pool-size 37", check.Next)
	db.Exec(t, "ALTER ROLE "+name+" CONNECTION LIMIT -1; ALTER DATABASE "+db.Name+" CONNECTION LIMIT 30")
	check = checked(t, examine(t, u.String(), size(50)), "pool")
	require.Contains(t, check.Says, "the connection limit of the database allows 30")
	check = checked(t, examine(t, db.URL, size(900)), "pool")
	require.Contains(t, check.Says, "the server's max_connections allows")
}

func TestDoctorNamesAListenerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t) // the queue is the whole server's
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "LISTEN much")
	require.NoError(t, err)
	pid := conn.PgConn().PID()
	hijacked, err := conn.PgConn().Hijack() // its program goes on, and reads no more
	require.NoError(t, err)
	defer func(c net.Conn) { _ = c.Close() }(hijacked.Conn)
	impatient := func(c *operate.DoctorConfig) { c.LongWait = 100 * time.Millisecond }
	var check operate.DoctorCheck
	require.Eventually(t, func() bool {
		db.Exec(t, "SELECT pg_notify('much', repeat('x', 7000) || n) FROM generate_series(1, 500) AS n")
		check = checked(t, examine(t, db.URL, impatient), "listeners")
		return check.Result == operate.HealthWarn
	}, 2*patience, 10*time.Millisecond)
	require.Contains(t, check.Details[0], fmt.Sprintf("pid %d, user postgres, database %s", pid, db.Name))
	require.Contains(t, check.Details[0], "has not read its notifications for")
	require.Equal(t, fmt.Sprintf("psql -c 'SELECT pg_terminate_backend(%d)'", pid), check.Next)
}

func TestDoctorNamesTimesInTheFuture(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ statement, says, detail string }{
		"heartbeat": {`INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at) VALUES ('a', 1, 'h', 1, '1', now() + interval '1 hour')`,
			"the server's clock was set back", "the heartbeat of worker a is"},
		"outbox": {`INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, created_at)
			VALUES ('e', gen_random_uuid(), 'x', now() + interval '3 days')`,
			"the server's clock was set back", "the newest row of the outbox is"},
		"leader": {`INSERT INTO iu_river.river_leader (elected_at, expires_at, leader_id) VALUES (now(), now() + interval '1 day', 'c')`,
			"the server's clock was set back", "the lead of River's client c"},
		"a worker ahead": {`INSERT INTO iu_river.river_job (kind, args, max_attempts, state, attempted_at, attempted_by, finalized_at)
			VALUES ('auto_instantiate', '{}', 1, 'completed', now(), ARRAY['fast'], now() + interval '1 minute')`,
			"1 worker's clock is wrong", "the clock of worker fast is"},
		"a worker behind": {`INSERT INTO iu_river.river_job (kind, args, max_attempts, state, attempted_at, attempted_by, finalized_at)
			VALUES ('auto_instantiate', '{}', 1, 'completed', now(), ARRAY['slow'], now() - interval '10 seconds')`,
			"1 worker's clock is wrong", "the clock of worker slow is 10s behind"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URLAs("iu_operator")), "times").Result)
			db.Exec(t, test.statement)
			check := checked(t, examine(t, db.URLAs("iu_operator")), "times")
			require.Equal(t, operate.HealthWarn, check.Result)
			require.Contains(t, check.Says, test.says)
			require.Contains(t, check.Details[0], test.detail)
		})
	}
}

func TestDoctorComparesTheTwoAddresses(t *testing.T) {
	t.Parallel()
	db, other := iutest.New(t), iutest.New(t)
	at := func(url string) func(*operate.DoctorConfig) {
		direct, err := pgx.ParseConfig(url)
		require.NoError(t, err)
		return func(c *operate.DoctorConfig) { c.Direct = direct }
	}
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL, at(db.URL)), "direct").Result)
	check := checked(t, examine(t, db.URL, at(other.URL)), "direct")
	require.Equal(t, operate.HealthFail, check.Result)
	require.Contains(t, check.Says, "different databases")
	check = checked(t, examine(t, db.URL, at("postgres://me:s3cret@127.0.0.1:1/x")), "direct")
	require.Equal(t, operate.HealthFail, check.Result)
	require.NotContains(t, fmt.Sprint(check), "s3cret")

	name := login(t, db, "iu_worker")
	db.Exec(t, "ALTER ROLE "+name+" SET default_transaction_read_only = on")
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.User = url.User(name)
	check = checked(t, examine(t, db.URL, at(u.String())), "direct")
	require.Equal(t, operate.HealthFail, check.Result)
	require.Contains(t, check.Says, "read-only")
}
