package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// databasesFile writes a file of --databases.
func databasesFile(t testing.TB, urls map[string]string, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "databases")
	writeDatabases(t, path, urls, more...)
	return path
}

func writeDatabases(t testing.TB, path string, urls map[string]string, more ...string) {
	t.Helper()
	lines := []string{"# name  address", ""}
	for _, name := range slices.Sorted(maps.Keys(urls)) {
		lines = append(lines, name+"\t"+urls[name])
	}
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(append(lines, more...), "\n")), 0o600))
}

var indexURL = regexp.MustCompile(`"Pages: listening","url":"(http://[^"]+)"`)

// workingOn starts iuworker work --databases in this process, and returns the URL of the index when so many workers are ready.
func workingOn(t testing.TB, file string, ready int, args ...string) (index string, log *buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log = newBuffer()
	ended := make(chan int, 1)
	args = append([]string{"work", "--http-addr", "127.0.0.1:0", "--databases", file}, args...)
	go func() { ended <- Run(ctx, args, func(string) string { return "" }, newBuffer(), log) }()
	t.Cleanup(func() {
		cancel()
		require.Equal(t, exitDone, <-ended, log.String())
	})
	return awaitReady(t, log, ready), log
}

// awaitReady waits until so many workers are ready, and returns the URL of the index.
func awaitReady(t testing.TB, log *buffer, ready int) (index string) {
	t.Helper()
	log.await(t, `"Pages: listening"`)
	found := indexURL.FindStringSubmatch(log.String())
	require.NotNil(t, found, log.String())
	iutest.Eventually(t, func() bool {
		state := readiness(t, found[1])
		return state.Databases-len(state.NotReady) >= ready
	}, time.Duration(1+ready/20)*patience, "%d workers", ready)
	return found[1]
}

// at runs a statement on a database, and returns its value as text.
func at(t testing.TB, url, sql string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // it was only used for this statement
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&text), sql)
	return text
}

// furnish opens the gates of a database and makes the template letter.
func furnish(t testing.TB, url string) {
	t.Helper()
	at(t, url, `WITH opened AS (
		UPDATE public.dot_config SET value = 'true' WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') RETURNING key)
		SELECT count(*)::text FROM opened`)
	at(t, url, `WITH c AS (INSERT INTO public.iu_piece_collection (collection_key, created_by) VALUES ('letter', 'test') RETURNING id),
		p AS (INSERT INTO public.iu_piece (piece_key, body, created_by) VALUES ('letter/1', '{}', 'test') RETURNING id),
		m AS (INSERT INTO public.iu_piece_membership (collection_id, piece_id, position) SELECT c.id, p.id, 1 FROM c, p)
		SELECT id::text FROM c`)
	require.Equal(t, "marked", at(t, url, `SELECT public.fn_iu_collection_mark_template(id, 'test') ->> 'status'
		FROM public.iu_piece_collection WHERE collection_key = 'letter'`))
}

// request inserts n events.
func request(t testing.TB, url, prefix string, n int) {
	t.Helper()
	at(t, url, fmt.Sprintf(`WITH e AS (INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'order.placed', t.id, '%s-' || n FROM iu_outbox.template AS t, generate_series(1, %d) AS n RETURNING id)
		SELECT count(*)::text FROM e`, prefix, n))
}

// awaitEmissions waits until so many emissions have a position.
func awaitEmissions(t testing.TB, url string, n int) {
	t.Helper()
	iutest.Eventually(t, func() bool {
		return at(t, url, "SELECT position::text FROM iu_outbox.emission_counter") == fmt.Sprint(n)
	}, patience, "%d emissions", n)
}

// composeWithOneAway works on all databases, which furnish has furnished, composes events in each, makes one unreachable, composes
// in the others, and lets it come back: what was requested there meanwhile is composed, too.
func composeWithOneAway(t testing.TB, urls map[string]string, events int) (there, away time.Duration) {
	t.Helper()
	index, _ := workingOn(t, databasesFile(t, urls), len(urls))
	names := slices.Sorted(maps.Keys(urls))
	compose := func(of []string, round int) time.Duration {
		began := time.Now()
		for _, name := range of {
			request(t, urls[name], fmt.Sprint("round-", round), events)
		}
		for _, name := range of {
			awaitEmissions(t, urls[name], round*events)
		}
		return time.Since(began)
	}
	there = compose(names, 1)

	gone, others := names[0], names[1:]
	request(t, urls[gone], "while-away", 1)
	awaitEmissions(t, urls[gone], events+1)
	database := at(t, urls[gone], "SELECT current_database()::text")
	setReachable(t, urls[others[0]], database, false)
	iutest.Eventually(t, func() bool { return slices.Equal(notReady(t, index), []string{gone}) }, patience, "only %s is away", gone)
	away = compose(others, 2)
	iutest.Eventually(t, func() bool { return slices.Equal(notReady(t, index), []string{gone}) }, patience, "only %s is away", gone)
	awaitStatus(t, index+"readyz", http.StatusOK) // the process works on the others

	setReachable(t, urls[others[0]], database, true)
	iutest.Eventually(t, func() bool { return len(notReady(t, index)) == 0 }, patience, "all are back")
	request(t, urls[gone], "afterwards", 1)
	awaitEmissions(t, urls[gone], events+2)
	return there, away
}

// setReachable lets a database accept connections or not; if not, it ends those that there are.
func setReachable(t testing.TB, from, database string, is bool) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), from)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // it was only used for this
	_, err = conn.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s WITH ALLOW_CONNECTIONS %t", pgx.Identifier{database}.Sanitize(), is))
	require.NoError(t, err)
	if !is {
		_, err = conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
		require.NoError(t, err)
	}
}

// readyzState is what /readyz says.
type readyzState struct {
	Databases int
	NotReady  []struct{ Database, Reason string } `json:"not_ready"`
}

func readiness(t testing.TB, index string) (state readyzState) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, index+"readyz", http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close() //nolint:errcheck // it was read
	require.NoError(t, json.NewDecoder(response.Body).Decode(&state))
	return state
}

// notReady returns the databases that /readyz names.
func notReady(t testing.TB, index string) (names []string) {
	t.Helper()
	for _, d := range readiness(t, index).NotReady {
		require.NotEmpty(t, d.Reason, d.Database)
		names = append(names, d.Database)
	}
	return names
}

// awaitText waits until a page shows all texts: a busy machine reads some of them late.
func awaitText(t *testing.T, url string, texts ...string) {
	t.Helper()
	iutest.Eventually(t, func() bool {
		page := read(t, url)
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(page, text) })
	}, patience, "%q", texts)
}

// awaitJSON waits until a response is a JSON text.
func awaitJSON(t testing.TB, url, want string) {
	t.Helper()
	decoded := func(text string) (value any) {
		require.NoError(t, json.Unmarshal([]byte(text), &value), text)
		return value
	}
	iutest.Eventually(t, func() bool { return reflect.DeepEqual(decoded(body(t, url)), decoded(want)) }, patience, want)
}

// manyDatabases returns furnished databases by name.
func manyDatabases(t testing.TB, names ...string) map[string]string {
	t.Helper()
	urls := map[string]string{}
	for _, name := range names {
		urls[name] = iutest.New(t).URL
		furnish(t, urls[name])
	}
	return urls
}

// The benchmark ManyDatabases does this with 50.
func TestOneOfManyDatabasesIsAway(t *testing.T) {
	t.Parallel()
	composeWithOneAway(t, manyDatabases(t, "ash", "birch", "cedar", "elm"), 3)
}

func TestDatabasesThatCannotBeWorkedOnStopNoOther(t *testing.T) {
	t.Parallel()
	urls := manyDatabases(t, "orders", "billing")
	good := maps.Clone(urls)
	secret := filepath.Join(t.TempDir(), "address")
	urls["unreachable"], urls["bare"], urls["late"] = nowhere, iutest.Empty(t).URL, "file:"+secret
	index, log := workingOn(t, databasesFile(t, urls), len(good))
	for name, url := range good {
		request(t, url, name, 2)
		awaitEmissions(t, url, 2)
	}
	iutest.Eventually(t, func() bool { return slices.Equal(notReady(t, index), []string{"bare", "late", "unreachable"}) }, patience)
	log.await(t, "run: iuworker migrate up")
	log.await(t, "no such file or directory")
	for _, name := range []string{"bare", "late", "unreachable"} {
		log.await(t, `"database":"`+name+`"`)
	}
	shown := []string{"run: iuworker migrate up", `<span class="mark good">ready</span>`}
	for name := range urls {
		shown = append(shown, `<a href="/d/`+name+`/">`+name+`</a>`)
	}
	awaitText(t, index, shown...)
	require.Equal(t, http.StatusServiceUnavailable, get(t, index+"d/late/"))
	require.Equal(t, http.StatusServiceUnavailable, get(t, index+"d/late/readyz"))
	require.Equal(t, http.StatusOK, get(t, index+"d/late/healthz"))
	require.Equal(t, http.StatusServiceUnavailable, get(t, index+"d/unreachable/readyz"))

	measured := []string{
		`iuworker_database_up{database="late"} 0`, `iuworker_relay_rows_total{database="orders"} 2`, `iuworker_database_up{database="orders"} 1`,
	}
	for name := range urls {
		up := "0"
		if good[name] != "" {
			up = "1"
		}
		measured = append(measured, `iuworker_worker_ready{database="`+name+`"} `+up+"\n")
	}
	awaitText(t, index+"metrics", measured...)
	require.Equal(t, 1, strings.Count(read(t, index+"metrics"), "\ngo_goroutines "))

	require.NoError(t, os.WriteFile(secret, []byte(manyDatabases(t, "late")["late"]), 0o600))
	iutest.Eventually(t, func() bool { return slices.Equal(notReady(t, index), []string{"bare", "unreachable"}) }, 2*patience)
}

func TestEachDatabaseHasItsPagesAndEvents(t *testing.T) {
	t.Parallel()
	urls := manyDatabases(t, "orders", "billing")
	index, _ := workingOn(t, databasesFile(t, urls), 2, "--http-base-path", "/iu")
	require.True(t, strings.HasSuffix(index, "/iu/"), index)
	request(t, urls["orders"], "mine", 1)
	awaitEmissions(t, urls["orders"], 1)
	for _, path := range []string{"", "events", "dead-letters", "workers", "health", "settings", "riverui/", "riverui/api/jobs?state=completed", "readyz"} {
		awaitStatus(t, index+"d/orders/"+path, http.StatusOK)
	}
	awaitText(t, index+"d/orders/events", "mine-1")
	require.NotContains(t, read(t, index+"d/billing/events"), "mine-1")
	require.Contains(t, read(t, index+"d/orders/"), `<a class="act" href="/iu/">Databases</a> <strong>orders</strong>`)
	awaitText(t, index+"d/orders/workers", "iuworker")
	require.Equal(t, http.StatusNotFound, get(t, index+"d/nothing/"))
	require.Equal(t, http.StatusNotFound, get(t, index+"events"), "a page needs a database")
	require.Equal(t, http.StatusOK, get(t, index+"assets/page.css"))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := http.NewRequestWithContext(ctx, http.MethodGet, index+"d/orders/v1/events?from=beginning", http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(stream)
	require.NoError(t, err)
	defer response.Body.Close() //nolint:errcheck // it is cut off
	require.Equal(t, http.StatusOK, response.StatusCode)
	var text strings.Builder
	part := make([]byte, 4096)
	for !strings.Contains(text.String(), "mine-1") {
		n, err := response.Body.Read(part)
		require.True(t, n > 0 || err == nil || err == io.EOF, "%v: %s", err, text.String())
		text.Write(part[:n])
	}
}

// The names of databases are part of what an operator sees only after signing in; the probes name those that are not ready.
func TestTheIndexAsksForCredentials(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(users, []byte("viewer:ann:"+secret+"\n"), 0o600))
	index, _ := workingOn(t, databasesFile(t, manyDatabases(t, "orders")), 1, "--http-credentials-file", users)
	for _, path := range []string{"", "d/orders/", "d/orders/events", "d/orders/v1/events", "d/nothing/", "metrics"} {
		require.Equal(t, http.StatusUnauthorized, get(t, index+path), path)
	}
	for _, path := range []string{"readyz", "healthz", "d/orders/readyz"} {
		awaitStatus(t, index+path, http.StatusOK)
	}
	signedIn := strings.Replace(index, "http://", "http://ann:"+secret+"@", 1)
	require.Contains(t, read(t, signedIn), "orders")
	require.Contains(t, read(t, signedIn+"d/orders/"), "ann, viewer")
}

// Two names whose addresses differ, but lead to one database.
func TestTwoNamesOfOneDatabaseAreFoundOut(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	other := strings.Replace(db.URL, "127.0.0.1", "localhost", 1)
	require.NotEqual(t, db.URL, other)
	index, log := workingOn(t, databasesFile(t, map[string]string{"one": db.URL, "two": other}), 1)
	iutest.Eventually(t, func() bool {
		return strings.Contains(log.String(), "it is the same database as one; remove one of the two lines") ||
			strings.Contains(log.String(), "it is the same database as two; remove one of the two lines")
	}, patience)
	iutest.Eventually(t, func() bool { return len(notReady(t, index)) == 1 }, patience)
}

// A real process gets SIGHUP: databases come and go, and the others go on.
func TestSIGHUPReadsTheDatabasesAgain(t *testing.T) {
	t.Parallel()
	urls := manyDatabases(t, "stays", "moves", "leaves", "comes", "elsewhere")
	file := databasesFile(t, map[string]string{"stays": urls["stays"], "moves": urls["moves"], "leaves": urls["leaves"]})
	p := launch(t, nil, "work", "--http-addr", "127.0.0.1:0", "--databases", file)
	index := awaitReady(t, p.errOut, 3)
	workers := func(name string) string {
		return at(t, urls[name], "SELECT COALESCE(string_agg(id, ' ' ORDER BY id), '') FROM iu_outbox.worker")
	}
	worker := workers("stays")
	require.NotEmpty(t, worker)

	writeDatabases(t, file, map[string]string{"stays": urls["stays"], "moves": urls["elsewhere"], "comes": urls["comes"]})
	p.signal(t, syscall.SIGHUP)
	awaitText(t, index, `<a href="/d/comes/">`)
	awaitReady(t, p.errOut, 3)
	for name, url := range map[string]string{"comes": urls["comes"], "moves": urls["elsewhere"], "stays": urls["stays"]} {
		request(t, url, name, 2)
		awaitEmissions(t, url, 2)
	}
	iutest.Eventually(t, func() bool { return workers("leaves")+workers("moves") == "" }, patience, "they signed off")
	require.Equal(t, worker, workers("stays"), "it was not restarted")
	require.Equal(t, http.StatusNotFound, get(t, index+"d/leaves/"))
	awaitStatus(t, index+"d/comes/", http.StatusOK)
	awaitText(t, index+"metrics", `iuworker_worker_ready{database="comes"} 1`)
	require.NotContains(t, read(t, index+"metrics"), `database="leaves"`)

	for broken, says := range map[string]string{
		"Orders " + nowhere:        `line 6: the name \"Orders\" must be`,
		"stays " + nowhere:         "line 6: the name stays is in line 5, too",
		"other " + urls["stays"]:   "line 6: other is the same database as stays in line 5",
		"other":                    "line 6: it has no address",
		"other mysql://root@there": "line 6 of " + file + " has the scheme mysql in place of postgres",
	} {
		writeDatabases(t, file, map[string]string{"stays": urls["stays"], "moves": urls["elsewhere"], "comes": urls["comes"]}, broken)
		p.signal(t, syscall.SIGHUP)
		p.errOut.await(t, says)
	}
	require.Contains(t, p.errOut.String(), "Databases: the file cannot be used; what runs goes on")
	request(t, urls["comes"], "still", 1)
	awaitEmissions(t, urls["comes"], 3)
	require.Equal(t, worker, workers("stays"))
	iutest.Eventually(t, func() bool { return len(notReady(t, index)) == 0 }, patience)

	p.signal(t, syscall.SIGTERM)
	require.NoError(t, <-p.ended, p.errOut.String())
	require.Empty(t, workers("stays")+workers("comes")+workers("elsewhere"), "all signed off")
}

// A database in which a worker cannot end in time keeps no other from ending in order.
func TestSIGTERMEndsEachDatabaseInOrder(t *testing.T) {
	t.Parallel()
	urls := manyDatabases(t, "free", "locked")
	p := launch(t, nil, "work", "--http-addr", "127.0.0.1:0", "--databases", databasesFile(t, urls), "--shutdown-timeout", "10s")
	awaitReady(t, p.errOut, 2)
	locker, err := pgx.Connect(t.Context(), urls["locked"])
	require.NoError(t, err)
	defer locker.Close(context.WithoutCancel(t.Context()))                                             //nolint:errcheck // the test is over
	_, err = locker.Exec(t.Context(), "BEGIN; LOCK TABLE iu_outbox.emission IN ACCESS EXCLUSIVE MODE") // the drain waits for it
	require.NoError(t, err)
	request(t, urls["free"], "last", 3)
	p.signal(t, syscall.SIGTERM)
	exit, failed := errors.AsType[*exec.ExitError](<-p.ended)
	require.True(t, failed, p.errOut.String())
	require.Equal(t, exitFailed, exit.ExitCode())
	require.Regexp(t, "the database locked: timed out stopping: |timed out stopping: the worker of the database locked|timed out stopping: the workers, after",
		p.errOut.String(), "the database says it, unless the machine is too busy")
	require.NotContains(t, p.errOut.String(), "the database free")
	require.Equal(t, "0", at(t, urls["free"], "SELECT count(*)::text FROM iu_outbox.worker"), "it signed off")
}

func TestAFileOfDatabasesIsCheckedBeforeConnecting(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "databases")
	for text, says := range map[string]string{
		"":                          "it names no database",
		"# nothing\n\n":             "it names no database",
		"a":                         "line 1: it has no address",
		"\na b\nA b":                `line 3: the name "A" must be 1 to 63 lower-case letters`,
		"a/b " + nowhere:            "line 1: the name",
		"postgres://me:pw-1@h/db":   "line 1: it has no address",
		"postgres://me:pw-1@h/db x": "line 1: the name a text that may be an address must be",
		"a postgres://u@h/b\na x":   "line 2: the name a is in line 1, too",
		"a postgres://u@h:5432/b\nb host=h dbname=b": "line 2: b is the same database as a in line 1; remove one of the two lines",
		"a postgres://u@h,i/b\nb host=i dbname=b":    "line 2: b is the same database as a in line 1",
		"a file:":                     "line 1: file: lacks the path",
		"a.direct postgres://u@h/b":   "line 1: there is no line a with the address for queries",
		"a redis://u:pw-1@h/b":        "has the scheme redis in place of postgres",
		"a host=h\na.direct nonsense": "line 2 of " + file,
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		r := run(t, nil, "work", "--http-addr", "off", "--databases", file).failed(t, exitUsage, says)
		require.NotContains(t, r.errOut, "pw-1")
	}
	run(t, nil, "work", "--databases", file+".none").failed(t, exitUsage, "no such file")
	run(t, nil, "work", "--databases", file, "--database-url", nowhere).failed(t, exitUsage, "--databases and --database-url contradict each other")
	run(t, environment{"IUWORKER_DATABASE_URL": nowhere}, "work", "--databases", file).failed(t, exitUsage, "contradict each other")
	run(t, nil, "work", "--database-name", "Shop").failed(t, exitUsage, "lower-case")
}

// The label is the database's name, or what the user calls it.
func TestTheDatabaseIsNamedInMetrics(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	pages, _, _ := working(t, db)
	for line := range strings.Lines(read(t, pages+"metrics")) {
		if strings.HasPrefix(line, "iuworker_") && !strings.HasPrefix(line, "iuworker_log_lines_dropped_total") {
			require.Contains(t, line, `database="`+db.Name+`"`)
		}
	}
	pages, _, _ = working(t, db, "--database-name", "shop-eu")
	iutest.Eventually(t, func() bool { // a busy server may not answer in time at first
		return strings.Contains(read(t, pages+"metrics"), "\niuworker_database_up{database=\"shop-eu\"} 1\n")
	}, patience)
}

func TestTheFileOfTheDocuments(t *testing.T) {
	t.Parallel()
	entries, err := parseDatabases(blocksFor(t, "TestTheFileOfTheDocuments")[0].text)
	require.NoError(t, err)
	require.Len(t, entries, 4)
	require.Equal(t, "/run/secrets/legacy-address", entries[2].pool.file)
	require.Equal(t, databaseLine{
		name: "shop", pool: location{line: 7, text: "postgres://iu_worker@pooler:6432/shop"},
		direct: location{line: 8, text: "postgres://iu_worker@db-4/shop"},
	}, entries[3])
	a := &app{getenv: func(string) string { return "" }}
	entries = slices.DeleteFunc(entries, func(e databaseLine) bool { return e.name == "orders" || e.name == "billing" })
	located, err := a.locate(a.rootCommand(), "databases", entries)
	require.NoError(t, err)
	require.Error(t, located[0].err, "the secret is not there yet")
	require.Equal(t, "pooler", located[1].at.pool.ConnConfig.Host)
	require.Equal(t, "db-4", located[1].at.direct.Host)
}

func TestReadyzOfTheDocuments(t *testing.T) {
	t.Parallel()
	urls := manyDatabases(t, "orders")
	urls["billing"] = nowhere
	index, _ := workingOn(t, databasesFile(t, urls), 1)
	awaitJSON(t, index+"readyz", blocksFor(t, "TestReadyzOfTheDocuments")[0].text)
}
