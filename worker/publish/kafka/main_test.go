package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/kafka"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// The test binary is also a publisher, to be killed.
const runsPublisher = "TEST_PUBLISHER"

func TestMain(m *testing.M) {
	if os.Getenv(runsPublisher) != "" {
		os.Exit(publisherProcess())
	}
	iutest.Main(m)
}

const (
	// patience is how long a condition may take on a busy machine.
	patience = 60 * time.Second
	consumer = "publish-kafka"
	topic    = "iu.shop"
)

// bundle is a database with open gates and a template.
type bundle struct {
	*iutest.DB
	template uuid.UUID
	composed int
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := iutest.New(t)
	db.OpenGates(t)
	return &bundle{DB: db, template: db.Template(t, "letter", 1)}
}

// announce composes n instances and gives them positions.
func (b *bundle) announce(t testing.TB, n int) {
	t.Helper()
	b.announceAs(t, n, "ann", "s-")
}

func (b *bundle) announceAs(t testing.TB, n int, actor, suffix string) {
	t.Helper()
	b.Exec(t, `SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'order.paid', $1, $5 || n, 'live', $4)
		FROM generate_series($2::int, $3::int) AS n`, b.template, b.composed+1, b.composed+n, actor, suffix)
	b.composed += n
	b.Exec(t, "SELECT iu_outbox.emit(100000)")
}

func (b *bundle) until(t testing.TB, query string, args ...any) {
	t.Helper()
	b.WaitFor(t, patience, "SELECT ("+query+")", args...)
}

// published waits until the consumer is at the end.
func (b *bundle) published(t testing.TB) {
	t.Helper()
	b.until(t, "SELECT c.position = e.position FROM iu_outbox.consumer AS c, iu_outbox.emission_counter AS e WHERE c.name = $1", consumer)
}

func (b *bundle) emissions(t testing.TB) (events []string) {
	t.Helper()
	require.NoError(t, b.Pool.QueryRow(t.Context(),
		"SELECT COALESCE(array_agg(event::text ORDER BY position), '{}') FROM iu_outbox.emission WHERE position IS NOT NULL").Scan(&events))
	return events
}

// cluster starts brokers in this process that speak Kafka's protocol.
func cluster(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(1)}, options...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func (b *bundle) config(brokers []string, change ...func(*kafka.Config)) kafka.Config {
	cfg := kafka.Config{
		Brokers: brokers, Topic: topic, Create: true, Consumer: consumer, Source: "/iu-core/" + b.Name, AckTimeout: 2 * time.Second,
	}
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

type running struct {
	stop func() error
	done chan struct{}
	err  error
	log  *iutest.Log
}

// start publishes until the test ends or stop is called.
func (b *bundle) start(t testing.TB, cfg kafka.Config, change ...func(*publish.Config)) *running {
	t.Helper()
	r := &running{log: &iutest.Log{}, done: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Logger = logger
	sink, err := kafka.New(cfg)
	require.NoError(t, err)
	config := publish.Config{
		Pool: b.Pool, Sink: sink, Consumer: cfg.Consumer, Source: cfg.Source, Page: 50, LeaseTTL: 5 * time.Second, Logger: logger,
	}
	for _, c := range change {
		c(&config)
	}
	p, err := publish.New(config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(r.done)
		defer sink.Close()
		r.err = p.Run(ctx)
	}()
	r.stop = func() error {
		cancel()
		<-r.done
		return r.err
	}
	t.Cleanup(func() {
		_ = r.stop()
		if t.Failed() {
			t.Logf("the publisher's log:\n%s", r.log)
		}
	})
	return r
}

func (r *running) ended(t testing.TB) error {
	t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		require.FailNow(t, "the publisher goes on and on", r.log.String())
		return nil
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func portOf(t testing.TB, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}

func eventually(t testing.TB, condition func() bool, what string) {
	t.Helper()
	iutest.Eventually(t, condition, patience, what)
}

// records reads n committed records of a topic, and fails if there are more.
func records(t testing.TB, brokers []string, n int, options ...kgo.Opt) (all []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200 * time.Millisecond),
	}, options...)...)
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err0(), "read %d records; there are %d", n, len(all))
		all = append(all, fetches.Records()...)
	}
	more, cancelMore := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancelMore()
	all = append(all, client.PollFetches(more).Records()...)
	require.Len(t, all, n, "there are more records")
	return all
}

// requireEqual fails unless the topic, of one partition, is the table.
func (b *bundle) requireEqual(t testing.TB, brokers []string) []*kgo.Record {
	t.Helper()
	events := b.emissions(t)
	all := records(t, brokers, len(events))
	for i, record := range all {
		iutest.RequireEvent(t, string(record.Value))
		headers := map[string][]string{}
		for _, header := range record.Headers {
			headers[header.Key] = append(headers[header.Key], string(header.Value))
		}
		iutest.RequireHeaders(t, "kafkaHeaders", headers)
		event, err := subscribe.ParseEvent(record.Value)
		require.NoError(t, err)
		require.EqualValues(t, i+1, event.Cursor.Position, "the topic has a gap, a repetition, or is out of order")
		require.Equal(t, events[i], string(record.Value))
	}
	return all
}

// publishing is what a publisher that is a process of its own is told.
type publishing struct {
	Database, Name string
	Brokers        []string
}

// publisherProcess is this binary as a publisher. Like a service it starts again if it was fenced, since it stood still for too long.
func publisherProcess() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var told publishing
	if err := json.Unmarshal([]byte(os.Getenv(runsPublisher)), &told); err != nil {
		return 2
	}
	pool, err := pgxpool.New(ctx, told.Database)
	if err != nil {
		return 2
	}
	defer pool.Close()
	err = told.publish(ctx, pool)
	for errors.Is(err, publish.ErrFenced) && ctx.Err() == nil {
		err = told.publish(ctx, pool)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "publisher:", err)
		return 1
	}
	return 0
}

func (told publishing) publish(ctx context.Context, pool *pgxpool.Pool) error {
	source := "/iu-core/" + told.Name
	sink, err := kafka.New(kafka.Config{
		Brokers: told.Brokers, Topic: topic, Create: true, Consumer: consumer, Source: source, AckTimeout: 2 * time.Second,
	})
	if err != nil {
		return err
	}
	defer sink.Close()
	p, err := publish.New(publish.Config{
		Pool: pool, Sink: sink, Consumer: consumer, Source: source, Page: 10, LeaseTTL: time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// spawn starts a publisher as a process of its own.
func (b *bundle) spawn(t testing.TB, brokers []string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(publishing{b.URL, b.Name, brokers})
	require.NoError(t, err)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), runsPublisher+"="+string(text))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // ended before
		_ = cmd.Wait()
	})
	return cmd
}
