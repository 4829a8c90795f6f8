package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/proxytest"
)

// natsServer runs a NATS server in this process until the test ends.
func natsServer(t testing.TB, change ...func(*server.Options)) *server.Server {
	t.Helper()
	options := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, JetStreamMaxMemory: 64 << 20,
		JetStreamMaxStore: 1 << 30,
	}
	for _, c := range change {
		c(options)
	}
	s, err := server.NewServer(options)
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience))
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func natsStream(t testing.TB, s *server.Server, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), options...)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	return js
}

// publishing runs iuworker publish; stop ends it and returns its exit code.
func publishing(t testing.TB, env environment, args ...string) (log *buffer, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, append([]string{"publish", "--http-addr", "127.0.0.1:0"}, args...), func(name string) string { return env[name] }, newBuffer(), log)
	}()
	var code *int
	stop = func() int {
		cancel()
		if code == nil {
			c := <-ended
			code = &c
		}
		return *code
	}
	t.Cleanup(func() { stop() })
	return log, stop
}

func awaitMessages(t testing.TB, js jetstream.JetStream, stream string, n uint64) {
	t.Helper()
	iutest.Eventually(t, func() bool {
		s, err := js.Stream(t.Context(), stream)
		return err == nil && s.CachedInfo().State.Msgs == n
	}, patience)
}

func TestPublish(t *testing.T) {
	t.Parallel()
	db, nats := iutest.New(t), natsServer(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "a", "b")
	stream := "IU_" + strings.ToUpper(db.Name)
	env := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_subscriber"), "IUWORKER_NATS": nats.ClientURL()}

	dry := run(t, env, "publish", "--dry-run").done(t).out
	require.Contains(t, dry, "NATS JetStream, stream "+stream+", does not exist: create it, or give --create-stream\n"+
		"consumer publish-nats, does not exist and would begin after ")
	require.Equal(t, 2, strings.Count(dry, "\niu."+db.Name+".letter\nNats-Msg-Id: "), dry)
	failed := run(t, env, "publish", "--http-addr", "off", "--log-level", "error").failed(t, exitFailed, "or give --create-stream")
	require.Contains(t, failed.errOut, "stream "+stream+": it does not exist; create it for the subjects iu."+db.Name+".*")
	var consumers int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.consumer").Scan(&consumers))
	require.Zero(t, consumers, "neither made a consumer")

	log, stop := publishing(t, env, "--create-stream")
	js := natsStream(t, nats)
	awaitMessages(t, js, stream, 2)
	base := regexp.MustCompile(`"url":"(http://[^"]+)/"`).FindStringSubmatch(log.String())[1]
	require.Equal(t, http.StatusOK, get(t, base+"/healthz"))
	awaitStatus(t, base+"/readyz", http.StatusOK)
	db.WaitFor(t, patience, "SELECT (SELECT position = 2 FROM iu_outbox.consumer WHERE name = 'publish-nats')")
	require.Contains(t, body(t, base+"/metrics"), "iuworker_publish_events_total{database=\""+db.Name+"\"} 2")
	require.Contains(t, body(t, base+"/metrics"), "iuworker_publish_broker_up{database=\""+db.Name+"\"} 1")
	announce(t, db, template, "c")
	awaitMessages(t, js, stream, 3)
	db.WaitFor(t, patience, "SELECT position = 3 FROM iu_outbox.consumer WHERE name = 'publish-nats'")

	// Operators see it as what it is: a consumer.
	require.Regexp(t, `(?m)^publish-nats\s+[0-9a-f]{8}-3\s+nothing\s+\S+`, run(t, on(db), "consumers").done(t).out)
	require.Equal(t, exitDone, stop(), log.String())
	for line := range strings.Lines(log.String()) {
		require.True(t, json.Valid([]byte(line)), line)
	}

	plan := decode[publishPlan](t, run(t, env, "publish", "--dry-run", "--json").done(t))
	require.Equal(t, "holds", plan.State)
	require.Equal(t, plan.End, plan.Position)
	require.Empty(t, plan.Messages)
}

func TestPublishUsage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	for args, says := range map[string]string{
		"":                                        "--nats or --kafka is missing",
		"--nats nats://ann:" + secret + "@n1":     "it must not hold a user or a password",
		"--nats kafka://n1":                       "it must be addresses such as",
		"--nats ,":                                "it must be addresses such as",
		"--kafka b1":                              "--kafka needs --topic",
		"--kafka nats://b1 --topic t":             "it must be addresses such as b1:9092",
		"--kafka b1 --topic t --nats n1":          "contradict each other",
		"--kafka b1 --topic t --stream S":         "contradict each other",
		"--kafka b1 --topic t --sasl plain":       "--sasl and --user belong together",
		"--kafka b1 --topic t --user ann":         "--sasl and --user belong together",
		"--kafka b1 --topic a/b":                  "letters, digits",
		"--nats n1 --key actor":                   "contradict each other",
		"--nats n1 --from now --since 2h":         "--from and --since contradict each other",
		"--nats n1 --replicas 3":                  "give --create-stream, too",
		"--nats n1 --password-file " + file:       "--password-file needs --user",
		"--nats n1 --creds-file /nowhere/x":       "--creds-file: no such file",
		"--nats n1 --tls-cert-file " + file:       "belong together",
		"--nats n1 --subject iu.{order}":          "the placeholders are",
		"--nats n1 --subject iu..x":               "words between dots",
		"--nats n1 --stream a.b":                  "without . * > /",
		"--nats n1 --content text":                "it must be one of structured, binary",
		"--nats n1 --on-rewind maybe":             "it must be one of stop, continue",
		"--nats n1 --window 0":                    "from 1 to 10000",
		"--nats n1 --http-addr 0.0.0.0:0":         "without credentials",
		"--nats n1 --user a --creds-file " + file: "contradict each other",
	} {
		r := run(t, environment{"IUWORKER_DATABASE_URL": nowhere}, append([]string{"publish", "--log-level", "error"}, strings.Fields(args)...)...)
		r.failed(t, exitUsage, says)
		require.NotContains(t, r.errOut, secret)
	}
}

// A server that goes away while there is something to publish: operators see the consumer, how far it is behind and why.
func TestAPublisherWithoutItsBrokerIsShown(t *testing.T) {
	t.Parallel()
	db, s := iutest.New(t), natsServer(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	log, stop := publishing(t, on(db), "--nats", s.ClientURL(), "--create-stream")
	announce(t, db, template, "a")
	db.WaitFor(t, patience, "SELECT (SELECT position = 1 FROM iu_outbox.consumer WHERE name = 'publish-nats')")
	s.Shutdown()
	s.WaitForShutdown()
	announce(t, db, template, "b", "c")
	db.WaitFor(t, patience, "SELECT (SELECT last_error IS NOT NULL FROM iu_outbox.consumer WHERE name = 'publish-nats')")
	require.Regexp(t, `(?m)^publish-nats\s.*2 events, .*NATS`, run(t, on(db), "consumers").done(t).out)
	require.Contains(t, run(t, on(db), "status").done(t).out, "publish-nats")
	require.Contains(t, examine(t, on(db)).out, "publish-nats")
	base := regexp.MustCompile(`"url":"(http://[^"]+)/"`).FindStringSubmatch(log.String())[1]
	require.Equal(t, http.StatusServiceUnavailable, get(t, base+"/readyz"))
	require.Equal(t, exitDone, stop(), log.String())
}

// Each login that NATS knows, out of files and variables; a wrong one is an exit with the way out, not a wait.
func TestPublishLogsIn(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a")
	s := natsServer(t, func(o *server.Options) { o.Username, o.Password = "ann", secret })
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, "password")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	args := []string{"publish", "--http-addr", "off", "--nats", s.ClientURL(), "--log-level", "error"}
	run(t, on(db), args...).failed(t, exitFailed, "NATS refuses the login: nats: Authorization Violation")
	wrong := run(t, on(db), append(args, "--user", "ann", "--password-file", file("wrong"))...).failed(t, exitFailed, "check --creds-file, or --user")
	require.NotContains(t, wrong.errOut, secret)

	env := on(db)
	env["IUWORKER_PASSWORD"], env["IUWORKER_USER"] = secret, "ann"
	_, stop := publishing(t, env, "--nats", s.ClientURL(), "--create-stream")
	js := natsStream(t, s, nats.UserInfo("ann", secret))
	awaitMessages(t, js, "IU_"+strings.ToUpper(db.Name), 1)
	require.Equal(t, exitDone, stop())
	run(t, on(db), append(args[:5:5], "--dry-run", "--user", "ann", "--password-file", file(secret+"\n"))...).done(t)
}

func TestPublishToKafka(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "a", "b")
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	args := []string{"--kafka", c.ListenAddrs()[0], "--topic", "iu.shop"}
	dry := run(t, on(db), append([]string{"publish", "--dry-run"}, args...)...).done(t).out
	require.Contains(t, dry, "Kafka, topic iu.shop, does not exist: create it, or give --create-stream\nconsumer publish-kafka, does not exist")
	require.Contains(t, dry, "\nkey: tpl-inst:auto:a\n")
	log, stop := publishing(t, on(db), append(args, "--create-stream")...)
	db.WaitFor(t, patience, "SELECT (SELECT position = 2 FROM iu_outbox.consumer WHERE name = 'publish-kafka')")
	base := regexp.MustCompile(`"url":"(http://[^"]+)/"`).FindStringSubmatch(log.String())[1]
	awaitStatus(t, base+"/readyz", http.StatusOK)
	require.Contains(t, body(t, base+"/metrics"), "iuworker_publish_events_total{database=\""+db.Name+"\"} 2")
	require.Equal(t, exitDone, stop(), log.String())
	require.Contains(t, run(t, on(db), append([]string{"publish", "--dry-run"}, args...)...).done(t).out, "nothing to publish")
}

// The broker that is away is no exit: it is logged once, and probes say so.
func TestPublishWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a")
	log, stop := publishing(t, on(db), "--nats", proxytest.FreeAddress(t))
	log.await(t, "Publisher: broker lost")
	base := regexp.MustCompile(`"url":"(http://[^"]+)/"`).FindStringSubmatch(log.String())[1]
	require.Equal(t, http.StatusOK, get(t, base+"/healthz"))
	require.Equal(t, http.StatusServiceUnavailable, get(t, base+"/readyz"))
	require.Contains(t, body(t, base+"/metrics"), "iuworker_publish_broker_up{database=\""+db.Name+"\"} 0")
	require.Equal(t, exitDone, stop(), log.String())
	require.Equal(t, 1, strings.Count(log.String(), "Publisher: broker lost"))
}

// A worker has no part of the publisher, whatever its environment says: it connects to PostgreSQL alone.
func TestWorkPublishesNothing(t *testing.T) {
	t.Parallel()
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../../worker", "../../jobs", "../../sql").Output()
	require.NoError(t, err)
	require.Contains(t, string(deps), "github.com/jackc/pgx/v5\n")
	for _, library := range []string{"nats-io", "twmb/franz-go", "worker/publish"} {
		require.NotContains(t, string(deps), library)
	}

	db, s := iutest.New(t), natsServer(t)
	db.OpenGates(t)
	env := on(db)
	cmd := (&app{}).publishCommand()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if (&app{}).workCommand().Flags().Lookup(f.Name) == nil && hasVariable(cmd, f) {
			env[variable(f.Name)] = f.DefValue
		}
	})
	env["IUWORKER_NATS"], env["IUWORKER_CREATE_STREAM"] = s.ClientURL(), "true"
	env["IUWORKER_KAFKA"], env["IUWORKER_TOPIC"] = s.Addr().String(), "iu.shop" // it would count that as a client, too
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"work", "--http-addr", "off"}, func(name string) string { return env[name] }, newBuffer(), log)
	}()
	log.await(t, `"Worker: ready"`)
	announce(t, db, db.Template(t, "letter", 1), "a")
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	state, err := s.Varz(nil)
	require.NoError(t, err)
	require.Zero(t, state.TotalConnections, "nobody ever connected")
	streams := 0
	for range natsStream(t, s).StreamNames(t.Context()).Name() {
		streams++
	}
	require.Zero(t, streams)
	cancel()
	require.Equal(t, exitDone, <-ended, log.String())
}
