package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// A worker that starts before its server waits for the server, like a worker whose server restarts.
func TestWorkWaitsForItsServer(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	server.Kill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"work", "--http-addr", "127.0.0.1:0"}, func(name string) string { return on(db)[name] }, newBuffer(), log)
	}()
	log.await(t, "waiting for the database")
	log.await(t, `"url":"`)
	pages := regexp.MustCompile(`"url":"(http://[^"]+)"`).FindStringSubmatch(log.String())
	require.NotNil(t, pages, log.String())
	require.Equal(t, http.StatusOK, get(t, pages[1]+"healthz"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, pages[1]+"readyz", http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	var ready struct{ Reason string }
	require.NoError(t, json.NewDecoder(response.Body).Decode(&ready))
	require.Contains(t, ready.Reason, "cannot connect to the database")

	require.NoError(t, server.Restart(t.Context()))
	log.await(t, `"Worker: ready"`)
	require.Equal(t, 1, strings.Count(log.String(), "waiting for the database"), log.String())
	cancel()
	require.Equal(t, exitDone, <-ended, log.String())
}

func TestWorkThatWaitsEndsAtSIGTERM(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"work", "--http-addr", "off", "--database-url", nowhere}, func(string) string { return "" }, newBuffer(), log)
	}()
	log.await(t, "waiting for the database")
	cancel()
	require.Equal(t, exitDone, <-ended, log.String())
}

// A worker that takes long is reported once, and again as soon as it is ready.
func TestALateWorkerIsToldWhenItIsReady(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	log := newBuffer()
	w, err := worker.New(worker.Config{Pool: db.Pool, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	told := make(chan struct{})
	go func() {
		defer close(told)
		new(app).tellReady(t.Context(), w, time.Millisecond, slog.New(slog.NewJSONHandler(log, nil)))
	}()
	log.await(t, `"level":"WARN","msg":"Worker: not ready yet","error":"the worker is not running"`)
	require.NotContains(t, log.String(), "Worker: ready")
	require.NoError(t, w.Start(t.Context()))
	log.await(t, `"level":"INFO","msg":"Worker: ready"`)
	<-told
	require.Equal(t, 2, strings.Count(log.String(), "\n"), log.String())
	require.NoError(t, w.Stop(t.Context()))
}

// Nothing waits for a worker whose program ends.
func TestTheWaitForALateWorkerEnds(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), nowhere)
	require.NoError(t, err)
	defer pool.Close()
	w, err := worker.New(worker.Config{Pool: pool, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	log, told := newBuffer(), make(chan struct{})
	go func() {
		defer close(told)
		new(app).tellReady(ctx, w, time.Millisecond, slog.New(slog.NewJSONHandler(log, nil)))
	}()
	log.await(t, "Worker: not ready yet")
	cancel()
	<-told
}

// An error that a retry cannot fix ends the program at once.
func TestWorkDoesNotWaitInVain(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.Path = "/there_is_none"
	run(t, environment{"IUWORKER_DATABASE_URL": u.String()}, "work", "--http-addr", "off", "--log-level", "error").
		failed(t, exitFailed, "there_is_none")
	working(t, db, "--worker-id", "named")
	run(t, on(db), "work", "--http-addr", "off", "--log-level", "error", "--worker-id", "named").
		failed(t, exitFailed, "another worker has the same id: named lives on ")
}

// Every long-running command waits for a server that is lost before the command works. It logs that once, and then works.
func TestCommandsOutliveALossBeforeTheyWork(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "one")
	lock, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), "LOCK TABLE iu_outbox.schema_info")
	require.NoError(t, err)
	begin := func(args ...string) (out, log *buffer) {
		ctx, cancel := context.WithCancel(t.Context())
		out, log = newBuffer(), newBuffer()
		ended := make(chan int, 1)
		go func() {
			ended <- Run(ctx, append(args, "--log-level", "info"), func(name string) string { return on(db)[name] }, out, log)
		}()
		t.Cleanup(func() {
			cancel()
			require.Equal(t, exitDone, <-ended, log.String())
		})
		return out, log
	}
	schemaOut, schemaLog := begin("subscribe", "--after", "0")
	_, servedLog := begin("serve", "--http-addr", "127.0.0.1:0")
	iutest.WaitBlocked(t, db, 2)
	server.Kill()
	_ = lock.Rollback(t.Context()) // its session is gone
	_, publishedLog := begin("publish", "--nats", "nats://127.0.0.1:1", "--http-addr", "off")
	for what, log := range map[string]*buffer{"Subscriber": schemaLog, "Server": servedLog, "Publisher": publishedLog} {
		log.await(t, what+": waiting for the database; retrying until it is reachable")
	}
	require.NoError(t, server.Restart(t.Context()))
	schemaOut.await(t, "tpl-inst:auto:one")
	servedLog.await(t, "Server: ready")
	publishedLog.await(t, "Publisher: started")
	for _, log := range []*buffer{schemaLog, servedLog, publishedLog} {
		require.Equal(t, 1, strings.Count(log.String(), "waiting for the database"), log.String())
		require.Contains(t, log.String(), "the database is reachable")
	}
}

// An error that a retry cannot fix ends each of them at once, even if only the standby refuses the login.
func TestCommandsDoNotWaitInVain(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	var hba string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT current_setting('hba_file')").Scan(&hba))
	db.Exec(t, "COPY (VALUES ('host all typo all scram-sha-256'), ('host all all all trust')) TO '"+hba+"'")
	db.Exec(t, "CREATE ROLE typo LOGIN SUPERUSER PASSWORD 'right'")
	db.Exec(t, "SELECT pg_reload_conf()")
	at := func(change func(*url.URL)) string {
		u, err := url.Parse(db.URL)
		require.NoError(t, err)
		change(u)
		return u.String()
	}
	wrong := at(func(u *url.URL) { u.User = url.UserPassword("typo", "wrong") })
	missing := at(func(u *url.URL) { u.Path = "/there_is_none" })
	empty := at(func(u *url.URL) { u.Path = "/postgres" })
	for _, args := range [][]string{
		{"work", "--http-addr", "off"},
		{"serve", "--http-addr", "127.0.0.1:0"},
		{"publish", "--nats", "nats://127.0.0.1:1", "--http-addr", "off"},
		{"subscribe"},
	} {
		args = append(args, "--log-level", "error", "--log-format", "text")
		run(t, environment{"IUWORKER_DATABASE_URL": wrong}, args...).failed(t, exitFailed, "check the user and the password")
		run(t, environment{"IUWORKER_DATABASE_URL": missing}, args...).failed(t, exitFailed, "there_is_none")
		run(t, environment{"IUWORKER_DATABASE_URL": empty}, args...).failed(t, exitFailed, "iuworker migrate up")
		if args[0] == "serve" || args[0] == "subscribe" {
			run(t, environment{"IUWORKER_DATABASE_URL": db.URL, "IUWORKER_READ_DATABASE_URL": wrong}, args...).
				failed(t, exitFailed, "check the user and the password")
		}
	}
}
