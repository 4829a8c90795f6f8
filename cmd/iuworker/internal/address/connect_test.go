package address

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
)

// listening accepts connections and passes each to do, which closes it.
func listening(t *testing.T, network, address string, do func(net.Conn)) (where string, accepted *atomic.Int64) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	require.NoError(t, err)
	accepted = new(atomic.Int64)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			serving.Go(func() { do(conn) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		serving.Wait()
	})
	return listener.Addr().String(), accepted
}

// silent accepts connections and sends nothing.
func silent(t *testing.T) (where string, accepted *atomic.Int64) {
	t.Helper()
	return listening(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn) // until the client closes the connection
		_ = conn.Close()
	})
}

// relaying relays connections to a server.
func relaying(t *testing.T, network, address, to string) (accepted *atomic.Int64) {
	t.Helper()
	_, accepted = listening(t, network, address, func(conn net.Conn) {
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
		if err != nil {
			_ = conn.Close()
			return
		}
		go func() { _, _ = io.Copy(server, conn); _ = server.Close() }()
		_, _ = io.Copy(conn, server)
		_ = conn.Close()
	})
	return accepted
}

// refusing returns an address on which nothing listens.
func refusing(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func place(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u.Host
}

func config(t *testing.T, s Source) *pgx.ConnConfig {
	t.Helper()
	cfg, err := s.Config()
	require.NoError(t, err)
	return cfg.Pool.ConnConfig
}

// ask connects, runs a query and returns its value.
func ask(ctx context.Context, cfg *pgx.ConnConfig, query string) (value string, err error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, query).Scan(&value)
	return value, errors.Join(err, conn.Close(ctx))
}

const name = "SELECT current_database()::text"

func TestAHostThatNeverRepliesIsPassedOver(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	mute, accepted := silent(t)
	cfg := config(t, source("postgres://postgres@"+mute+","+refusing(t)+","+place(t, db.URL)+"/"+db.Name+"?connect_timeout=1", nil))
	for range 3 {
		got, err := ask(t.Context(), cfg.Copy(), name)
		require.NoError(t, err)
		require.Equal(t, db.Name, got)
		require.EqualValues(t, 1, accepted.Load(), "the host that was good last is tried first from then on")
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), func() *pgxpool.Config {
		c, err := source("postgres://postgres@"+mute+","+place(t, db.URL)+"/"+db.Name+"?connect_timeout=1", nil).Config()
		require.NoError(t, err)
		return c.Pool
	}())
	require.NoError(t, err)
	defer pool.Close()
	require.NoError(t, pool.Ping(t.Context()))
	pool.Reset()
	require.NoError(t, pool.Ping(t.Context()))
	require.EqualValues(t, 2, accepted.Load(), "likewise in a pool")
}

func TestAShortDeadlineIsSharedByTheHosts(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	mute, _ := silent(t)
	cfg := config(t, source("postgres://postgres@"+mute+","+place(t, db.URL)+"/"+db.Name+"?connect_timeout=3600", nil))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := ask(ctx, cfg, name)
	require.NoError(t, err)
	require.Equal(t, db.Name, got)
}

func TestSeveralHostsHaveAShorterTimeout(t *testing.T) {
	t.Parallel()
	require.Equal(t, timeoutAlone, config(t, source("postgres://ann@h/x", nil)).ConnectTimeout)
	require.Equal(t, timeoutOfSeveral, config(t, source("postgres://ann@h,g/x", nil)).ConnectTimeout)
	require.Equal(t, 8*time.Second, config(t, source("postgres://ann@h,g/x?connect_timeout=8", nil)).ConnectTimeout)
}

func TestEveryAddressOfANameIsTried(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	_, port, err := net.SplitHostPort(place(t, db.URL))
	require.NoError(t, err)
	cfg := config(t, source("postgres://postgres@db.example:"+port+"/"+db.Name, nil))
	dial := cfg.DialFunc
	var dialed []string
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed = append(dialed, address)
		return dial(ctx, network, address)
	}
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.2", "127.0.0.1"}, nil }
	for range 2 {
		got, err := ask(t.Context(), cfg, name)
		require.NoError(t, err)
		require.Equal(t, db.Name, got)
	}
	good := "127.0.0.1:" + port
	require.Equal(t, good, dialed[len(dialed)-1])
	require.Equal(t, []string{good, good}, dialed[len(dialed)-2:], "the second connection does without the first address: %s", dialed)
}

func TestErrorsNameEveryHost(t *testing.T) {
	t.Parallel()
	mute, _ := silent(t)
	deaf := refusing(t)
	cfg := config(t, source("postgres://ann@nowhere.invalid,"+mute+","+deaf+"/x?connect_timeout=1&sslmode=disable", nil))
	_, err := ask(t.Context(), cfg, name)
	failed, ok := errors.AsType[*pgconn.ConnectError](err)
	require.True(t, ok, "%v", err)
	failures := Failures(failed)
	require.Len(t, failures, 3, "%v", err)
	require.Equal(t, []string{"nowhere.invalid:5432", mute, deaf}, []string{failures[0].Host, failures[1].Host, failures[2].Host})
	_, ok = errors.AsType[*net.DNSError](failures[0].Err)
	require.True(t, ok)
	require.ErrorIs(t, failures[1].Err, context.DeadlineExceeded)
	require.ErrorContains(t, failures[2].Err, "refused")
}

func TestAServerThatMayWriteIsPreferred(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	server, err := pgserver.Start(t.Context(), pgserver.Config{TCP: true, Settings: map[string]string{"default_transaction_read_only": "on"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	const asks = "SELECT current_setting('transaction_read_only')"
	fixed, free := place(t, server.URL("postgres")), place(t, db.URL)
	for text, want := range map[string]string{
		"postgres://postgres@" + fixed + "," + free + "/postgres":                                 "off",
		"postgres://postgres@" + free + "," + fixed + "/postgres":                                 "off",
		"postgres://postgres@" + fixed + "," + free + "/postgres?target_session_attrs=any":        "on",
		"postgres://postgres@" + fixed + "," + free + "/postgres?target_session_attrs=read-write": "off",
		"postgres://postgres@" + free + "," + fixed + "/postgres?target_session_attrs=read-only":  "on",
		"postgres://postgres@" + fixed + "/postgres":                                              "on",
		"postgres://postgres@" + fixed + "," + refusing(t) + "/postgres":                          "on",
	} {
		cfg := config(t, source(text, nil))
		for range 2 {
			got, err := ask(t.Context(), cfg, asks)
			require.NoError(t, err, text)
			require.Equal(t, want, got, text)
		}
	}
}

func TestALoadIsSpread(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	mute, accepted := silent(t)
	one, two := "127.0.0.1:0", "127.0.0.1:0"
	seen := map[string]*atomic.Int64{}
	for _, where := range []*string{&one, &two} {
		*where = refusing(t)
		seen[*where] = relaying(t, "tcp", *where, place(t, db.URL))
	}
	cfg := config(t, source("postgres://postgres@"+mute+","+one+","+two+"/"+db.Name+"?connect_timeout=1&load_balance_hosts=random&sslmode=disable", nil))
	for range 40 {
		_, err := ask(t.Context(), cfg, name)
		require.NoError(t, err)
	}
	require.Positive(t, seen[one].Load())
	require.Positive(t, seen[two].Load())
	require.LessOrEqual(t, accepted.Load(), int64(4), "one that just failed is left for the last")
}

// password starts a server that requires passwords and has the login ann. set changes ann's password.
func password(t *testing.T) (where string, set func(password string)) {
	t.Helper()
	server, err := pgserver.Start(t.Context(), pgserver.Config{TCP: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	do := func(sql string) {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	do("CREATE ROLE ann LOGIN")
	var file string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_setting('hba_file')").Scan(&file))
	do("COPY (VALUES ('host all postgres all trust'), ('host all ann all scram-sha-256')) TO '" + file + "'")
	do("SELECT pg_reload_conf()")
	return place(t, server.URL("postgres")), func(password string) { do("ALTER ROLE ann PASSWORD '" + password + "'") }
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestSecretsAreReadAgainForEachConnection(t *testing.T) {
	t.Parallel()
	where, set := password(t)
	host, port, err := net.SplitHostPort(where)
	require.NoError(t, err)
	dir := t.TempDir()
	passfile, services, text := filepath.Join(dir, "pgpass"), filepath.Join(dir, "services"), filepath.Join(dir, "url")
	rotate := func(password string) {
		write(t, passfile, "other:*:*:*:wrong\n"+host+":"+port+":*:ann:"+strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(password)+"\n")
		write(t, services, "# ours\n[other]\nhost=nowhere\n\n[shop]\nhost="+host+"\nport="+port+"\nuser=ann\npassword="+password+"\n")
		write(t, text, "postgres://ann:"+url.QueryEscape(password)+"@"+where+"/postgres\n")
	}
	const first, second = `first:\p`, `second:\p`
	rotate(first)
	set(first)
	ways := map[string]Source{
		"passfile":  source("postgres://ann@"+where+"/postgres?passfile="+passfile, nil),
		"variable":  source("postgres://ann@"+where+"/postgres", map[string]string{"PGPASSFILE": passfile}),
		"service":   source("service=shop dbname=postgres servicefile="+services, nil),
		"PGSERVICE": source("", map[string]string{"PGSERVICE": "shop", "PGSERVICEFILE": services, "PGDATABASE": "postgres"}),
		"file":      {Name: "the file", File: text, Getenv: func(string) string { return "" }, Logger: slog.New(slog.DiscardHandler)},
	}
	configs := map[string]*pgx.ConnConfig{}
	for way, from := range ways {
		configs[way] = config(t, from)
		_, err := ask(t.Context(), configs[way], name)
		require.NoError(t, err, way)
	}
	set(second)
	for way, cfg := range configs {
		_, err := ask(t.Context(), cfg, name)
		refused, ok := errors.AsType[*pgconn.PgError](err)
		require.True(t, ok, "%s: %v", way, err)
		require.Equal(t, "28P01", refused.Code, way)
	}
	rotate(second)
	for way, cfg := range configs {
		_, err := ask(t.Context(), cfg.Copy(), name)
		require.NoError(t, err, way)
	}
}

func TestEachHostHasItsOwnPassword(t *testing.T) {
	t.Parallel()
	one, set := password(t)
	set("the first")
	two, set := password(t)
	set("the second")
	file := filepath.Join(t.TempDir(), "pgpass")
	write(t, file, one+":*:ann:the first\n"+two+":*:ann:the second\n")
	for _, where := range []string{one, two, refusing(t) + "," + two} {
		_, err := ask(t.Context(), config(t, source("postgres://ann@"+where+"/postgres?passfile="+file, nil)), name)
		require.NoError(t, err)
	}
}

func TestABrokenFileKeepsWhatWasReadBefore(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	file := filepath.Join(t.TempDir(), "url")
	write(t, file, db.URL)
	var log bytes.Buffer
	cfg := config(t, Source{
		Name: "--database-url-file", File: file, Getenv: func(string) string { return "" }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for _, text := range []string{"", "", "postgres://ann:" + secret + "/x@h/x"} {
		write(t, file, text)
		got, err := ask(t.Context(), cfg, name)
		require.NoError(t, err)
		require.Equal(t, db.Name, got)
	}
	require.NoError(t, os.Remove(file))
	_, err := ask(t.Context(), cfg, name)
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(log.String(), "cannot be read again"), log.String())
	require.Equal(t, 1, strings.Count(log.String(), "is blank"), log.String())
	require.Contains(t, log.String(), file+": no such file")
	require.NotContains(t, log.String(), secret)
	write(t, file, db.URL)
	_, err = ask(t.Context(), cfg, name)
	require.NoError(t, err)
	require.Contains(t, log.String(), "can be read again")
}

func TestWhatItsUserChangedStays(t *testing.T) {
	t.Parallel()
	db, other := iutest.Empty(t), iutest.Empty(t)
	cfg := config(t, source(db.URL, nil)).Copy()
	cfg.Database = other.Name
	cfg.RuntimeParams["application_name"] = "another"
	got, err := ask(t.Context(), cfg, "SELECT current_database() || ' ' || current_setting('application_name')")
	require.NoError(t, err)
	require.Equal(t, other.Name+" another", got)
}

func TestSockets(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	dir := t.TempDir()
	relaying(t, "unix", filepath.Join(dir, ".s.PGSQL.5433"), place(t, db.URL))
	relaying(t, "unix", "@"+db.Name+"/.s.PGSQL.5432", place(t, db.URL))
	me, err := user.Current()
	require.NoError(t, err)
	for _, text := range []string{
		"postgres://postgres@" + url.QueryEscape(dir) + ":5433/" + db.Name, "host=" + dir + " port=5433 user=postgres dbname=" + db.Name,
		"postgres://postgres@/" + db.Name + "?host=@" + db.Name, "host=@" + db.Name + " user=postgres dbname=" + db.Name,
		"postgres://postgres@/" + db.Name + "?host=@" + db.Name + "&requirepeer=" + me.Username,
	} {
		got, err := ask(t.Context(), config(t, source(text, nil)), name)
		require.NoError(t, err, text)
		require.Equal(t, db.Name, got)
	}
	_, err = ask(t.Context(), config(t, source("host="+dir+" port=5433 user=postgres requirepeer=somebody", nil)), name)
	require.ErrorContains(t, err, "requirepeer: the server runs as "+me.Username)
}
