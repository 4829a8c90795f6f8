package main

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func writeFile600(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestTheAddressMayComeFromAFile(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	file := writeFile600(t, "url", "\n  '"+db.URL+"'\n")
	for _, r := range []result{
		run(t, nil, "gate", "status", "--database-url-file", file),
		run(t, environment{"IUWORKER_DATABASE_URL_FILE": file, "DATABASE_URL": nowhere}, "gate", "status"),
		run(t, environment{"DATABASE_URL": db.URL, "IUWORKER_DIRECT_DATABASE_URL_FILE": file}, "gate", "status"),
	} {
		r.done(t)
	}
	run(t, on(db), "gate", "status", "--database-url-file", file).failed(t, exitUsage, "--database-url and --database-url-file contradict each other")
	run(t, on(db), "gate", "status", "--direct-database-url", db.URL, "--direct-database-url-file", file).
		failed(t, exitUsage, "--direct-database-url and --direct-database-url-file contradict each other")
	run(t, nil, "gate", "status", "--database-url-file", "/nowhere/url").
		failed(t, exitUsage, "the database address from --database-url-file or IUWORKER_DATABASE_URL_FILE cannot be used: the file /nowhere/url: no such file")
	run(t, nil, "gate", "status", "--database-url-file", writeFile600(t, "url", "\n")).failed(t, exitUsage, "is blank")
}

// A malformed address must not be read as the name of a parameter, which would connect to the default server.
func TestNothingAlmostAnAddressConnects(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"POSTGRES://ann:" + secret + "@h/x", "postgresql+asyncpg://ann:" + secret + "@h/x", "jdbc:postgresql://h/x?user=ann&password=" + secret,
		"postgres:/ann:" + secret + "@h/x", "postgres//ann:" + secret + "@h/x?sslmode=disable", "psql postgres://ann:" + secret + "@h/x",
		"export DATABASE_URL=postgres://ann:" + secret + "@h/x", "DATABASE_URL=postgres://ann:" + secret + "@h/x", "ann:" + secret + "@h/x",
		"postgres://ann:" + secret + "@h/x?search_path=iu", `"postgres://ann:` + secret + "@h/x", "mysql://ann:" + secret + "@h/x",
	} {
		for _, env := range []environment{
			{"DATABASE_URL": address},
			{"IUWORKER_DATABASE_URL_FILE": writeFile600(t, "url", address)},
			{"DATABASE_URL": nowhere, "IUWORKER_DIRECT_DATABASE_URL": address},
		} {
			r := run(t, env, "status").failed(t, exitUsage, "the database address from ")
			require.NotContains(t, r.errOut+r.out, secret[:7], address)
		}
	}
}

func TestAnErrorOfSeveralHostsNamesThemAll(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // the test is over; the kernel accepts connections into the backlog
	mute := listener.Addr().String()
	var r result
	iutest.Eventually(t, func() bool { // a busy machine may refuse a connection too late
		r = run(t, environment{"DATABASE_URL": "postgres://ann:" + secret + "@" + mute + ",127.0.0.1:1/x?connect_timeout=1"}, "gate", "status")
		return strings.Contains(r.errOut, "connection refused")
	}, patience)
	r.failed(t, exitFailed, "cannot connect to PostgreSQL as user ann, database x: at "+mute+": no reply in time, "+
		"at 127.0.0.1:1: connect: connection refused; ")
	require.NotContains(t, r.errOut, secret)
}

func TestASilentHostDoesNotHoldUpAWorker(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // the test is over
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	several := strings.Replace(db.URL, u.Host, listener.Addr().String()+","+u.Host, 1)
	db.URL = several
	_, log, stop := working(t, db)
	require.Equal(t, exitDone, stop(), log.String())
	run(t, environment{"DATABASE_URL": several}, "doctor", "--json")
}

func TestSIGHUPReadsSecretsAgainAndEndsNothing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	dir := t.TempDir()
	tokens, address := filepath.Join(dir, "tokens"), filepath.Join(dir, "url")
	require.NoError(t, os.WriteFile(tokens, []byte(token), 0o600))
	require.NoError(t, os.WriteFile(address, []byte(db.URL), 0o600))
	withFile := *db
	withFile.URL = ""
	p := start(t, &withFile, "work", "--http-addr", "127.0.0.1:0", "--events-token-file", tokens, "--database-url-file", address)
	follower := start(t, db, "subscribe", "--consumer", "c", "--log-level", "info")
	p.errOut.await(t, "Worker: ready")
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.consumer WHERE name = 'c'")
	require.NoError(t, os.WriteFile(tokens, []byte("another-"+token), 0o600))
	require.NoError(t, os.WriteFile(address, []byte("postgres//"+secret), 0o600))
	follower.signal(t, syscall.SIGHUP)
	p.signal(t, syscall.SIGHUP)
	p.errOut.await(t, "SIGHUP: re-reading addresses, credentials and tokens")
	p.errOut.await(t, "Pages: the tokens were read again")
	p.errOut.await(t, "cannot be read again; what was read before stays in use")
	require.NotContains(t, p.errOut.String(), secret)
	for _, one := range []*program{p, follower} {
		select {
		case err := <-one.ended:
			require.Fail(t, "it ended", "%v: %s", err, one.errOut)
		default:
		}
		one.signal(t, syscall.SIGTERM)
		if err := <-one.ended; err != nil { // the follower has less time to end, too little for a busy machine
			require.NotSame(t, p, one, p.errOut.String())
			require.Contains(t, one.errOut.String(), "timed out stopping: ")
		}
	}
}

// If the file has a new address, a worker reconnects all its connections, also those that listen and hold locks.
func TestAWorkerOutlivesARotatedPassword(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	var hba string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT current_setting('hba_file')").Scan(&hba))
	db.Exec(t, "COPY (VALUES ('host all rotated all scram-sha-256'), ('host all all all trust')) TO '"+hba+"'")
	db.Exec(t, "CREATE ROLE rotated LOGIN PASSWORD 'first' IN ROLE iu_worker")
	db.Exec(t, "SELECT pg_reload_conf()")
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	address := func(password string) string {
		with := *u
		with.User = url.UserPassword("rotated", password)
		return with.String()
	}
	file := writeFile600(t, "url", address("first"))
	withFile := *db
	withFile.URL = ""
	args := []string{"work", "--http-addr", "off", "--database-url-file", file}
	p := start(t, &withFile, args...)
	p.errOut.await(t, "Worker: ready")
	for tries := 1; polls(p.errOut); tries++ {
		require.Less(t, tries, 5, p.errOut.String())
		p.signal(t, syscall.SIGTERM)
		require.NoError(t, <-p.ended, p.errOut.String())
		p = start(t, &withFile, args...)
		p.errOut.await(t, "Worker: ready")
	}
	const sessions = "FROM pg_stat_activity WHERE usename = 'rotated'"
	const listening = "SELECT count(*) >= 1 " + sessions + " AND query ILIKE 'LISTEN%'"
	const locking = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid IN (SELECT pid " + sessions + "))"
	db.WaitFor(t, patience, listening)
	db.WaitFor(t, patience, locking)

	db.Exec(t, "ALTER ROLE rotated PASSWORD 'second'")
	require.NoError(t, os.WriteFile(file, []byte(address("second")), 0o600))
	db.Exec(t, "SELECT pg_terminate_backend(pid, 60000) "+sessions)
	db.WaitFor(t, patience, listening)
	db.WaitFor(t, patience, locking)
	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	p.signal(t, syscall.SIGTERM)
	require.NoError(t, <-p.ended, p.errOut.String())
}
