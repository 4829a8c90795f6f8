package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestDemoOnAServerOfItsOwn(t *testing.T) {
	t.Parallel()
	r := run(t, nil, "demo").done(t)
	require.LessOrEqual(t, strings.Count(r.out, "\n"), 12)
	for _, says := range []string{
		`^database  PostgreSQL \d+\.\d+, of its own; schema \d+; gates open\n`, `(?m)^template  demo\.welcome-letter, 3 pieces$`,
		`(?m)^inserted  12 rows`, `(?m)^composed  12 instances`, `(?m)^received  12 events by LISTEN "iu\.template\.instance_auto_composed"`,
		`(?m)^  [0-9a-f-]{36}  tpl-inst:auto:demo\.welcome-letter-order-[0-9a-f]{6}-\d\d  [0-9a-f]{8}-12 +\d+\.\d ms$`,
	} {
		require.Regexp(t, says, r.out)
	}
	for line := range strings.SplitSeq(r.out, "\n") {
		require.LessOrEqual(t, len([]rune(line)), 130, line)
		require.Equal(t, strings.TrimRight(line, " "), line)
	}
}

func TestDemoOnAGivenDatabase(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	env := environment{"DATABASE_URL": db.URL}
	first := decode[demoResult](t, run(t, env, "demo", "--json").done(t))
	require.False(t, first.Embedded)
	require.Equal(t, []int{12, 12, 12}, []int{first.Inserted, first.Composed, first.Received})
	for i, order := range first.Orders {
		require.Regexp(t, fmt.Sprintf(`-%d$`, i+1), order.Cursor, "in the order of cursors")
		require.Equal(t, "tpl-inst:auto:"+order.Suffix, order.InstanceKey)
		require.Equal(t, 3, order.Pieces)
		require.NotEmpty(t, order.Cursor)
		require.Positive(t, order.AfterMS)
	}
	simple := environment{"DATABASE_URL": db.URL + "&default_query_exec_mode=simple_protocol"}
	second := decode[demoResult](t, run(t, simple, "demo", "--json").done(t))
	require.NotEqual(t, first.Orders[0].EventID, second.Orders[0].EventID)

	var log, events int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM public.iu_auto_instantiate_event_log WHERE triggered_by = 'iuworker-demo'),
		       (SELECT count(*) FROM iu_outbox.event)`).Scan(&log, &events))
	require.Equal(t, 24, log, "it leaves what it made")
	require.Zero(t, events)
	run(t, env, "conformance").done(t)
}

func TestDemoKeepsItsHandsOffOtherDatabases(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"a table":    "CREATE TABLE customer (id int)",
		"a function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"a schema":   "CREATE SCHEMA shop",
		"a sequence": "CREATE SEQUENCE s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.Empty(t)
			db.Exec(t, sql)
			run(t, on(db), "demo").failed(t, exitFailed, "is neither empty nor made by a demo")
			run(t, on(db), "dev", "--http-addr", "off").failed(t, exitFailed, "or pass --yes")
			var untouched bool
			require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT to_regnamespace('iu_outbox') IS NULL").Scan(&untouched))
			require.True(t, untouched)
		})
	}
	t.Run("an iu-core in use", func(t *testing.T) {
		t.Parallel()
		db := iutest.New(t)
		run(t, on(db), "demo").failed(t, exitFailed, "is neither empty nor made by a demo")
		require.Contains(t, run(t, on(db), "gate", "status").done(t).out, "closed")
		require.Contains(t, run(t, on(db), "demo", "--yes").done(t).out, "composed  12 instances")
		run(t, on(db), "demo").failed(t, exitFailed, "is neither empty nor made by a demo") // --yes does not turn it into a database of the demo
	})
	t.Run("an extension is nobody's", func(t *testing.T) {
		t.Parallel()
		db := iutest.Empty(t)
		db.Exec(t, "CREATE EXTENSION IF NOT EXISTS plpgsql; CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
		run(t, on(db), "demo").done(t)
	})
}

func TestDev(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, errOut, ended := newBuffer(), newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"dev", "--http-addr", "127.0.0.1:0"}, func(string) string { return "" }, out, errOut)
	}()
	out.await(t, "Ctrl-C ends it.")
	pages := regexp.MustCompile(`(?m)^pages +(http://127\.0\.0\.1:\d+/)$`).FindStringSubmatch(out.String())
	require.NotNil(t, pages, out.String())
	address := regexp.MustCompile(`(?m)^psql +psql '(postgres://.*)'$`).FindStringSubmatch(out.String())
	require.NotNil(t, address, out.String())

	require.True(t, strings.HasPrefix(out.String(), "export IUWORKER_DATABASE_URL='"+address[1]+"'\n"), out.String())

	awaitStatus(t, pages[1]+"readyz", http.StatusOK)
	require.Equal(t, http.StatusOK, get(t, pages[1]+"healthz"))
	env := environment{"IUWORKER_DATABASE_URL": address[1]}
	run(t, env, "enqueue", "--template", "demo.welcome-letter", "--suffix", "mine").done(t)
	require.Equal(t, []string{"mine"}, subjects(t, run(t, env, "subscribe", "--after", "12", "--limit", "1").done(t).out))

	line := regexp.MustCompile(`(?m)^follow +(curl .*)$`).FindStringSubmatch(out.String())
	require.NotNil(t, line, out.String())
	follows(t, line[1], "tpl-inst:auto:mine")

	insert := regexp.MustCompile(`(?s)\ninsert +(SELECT iu_outbox.add_event.*?;)\n`).FindStringSubmatch(out.String())
	require.NotNil(t, insert, out.String())
	pool, err := pgxpool.New(ctx, address[1])
	require.NoError(t, err)
	defer pool.Close()
	for range 2 { // a repeated row is the same event
		_, err = pool.Exec(ctx, insert[1])
		require.NoError(t, err)
	}
	require.Contains(t, subjects(t, run(t, env, "subscribe", "--after", "13", "--limit", "1").done(t).out)[0], "my-order-")
	_, err = pool.Exec(ctx, strings.ReplaceAll(insert[1], "demo.welcome-letter", "demo.wellcome-letter"))
	require.ErrorContains(t, err, `template "demo.wellcome-letter" does not exist`)
	pool.Close()
	cancel()
	require.Equal(t, exitDone, <-ended, errOut.String())
}

// awaitStatus waits until a request gets a status: a busy server may reply too late at first.
func awaitStatus(t testing.TB, url string, status int) {
	t.Helper()
	iutest.Eventually(t, func() bool { return get(t, url) == status }, patience, "%s: %d", url, status)
}

func get(t testing.TB, url string) (status int) {
	t.Helper()
	status, _ = fetch(t, url)
	return status
}

func body(t testing.TB, url string) (text string) {
	t.Helper()
	_, text = fetch(t, url)
	return text
}

// fetch returns the status and the body of a response.
func fetch(t testing.TB, url string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	all, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	http.DefaultClient.CloseIdleConnections()
	return response.StatusCode, string(all)
}

func TestAnAddressIsShownWithoutItsPassword(t *testing.T) {
	t.Parallel()
	a := &app{getenv: func(string) string { return "" }}
	a.database.pool.url = "postgres://ann:" + secret + "@h:5433/it%27s"
	at, err := a.addresses(&cobra.Command{})
	require.NoError(t, err)
	s := &stage{at: at}
	require.Equal(t, `host=h port=5433 user=ann dbname='it\'s'`, s.shown())
	require.Equal(t, `'host=h port=5433 user=ann dbname='\''it\'\''s'\'''`, shellQuoted(s.shown()))
}
