package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/jetstream"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// The test binary is also a NATS server and a publisher, to be killed.
const (
	runsServer    = "TEST_NATS_CONFIG"
	runsPublisher = "TEST_PUBLISHER"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(runsServer) != "":
		os.Exit(serverProcess(os.Getenv(runsServer)))
	case os.Getenv(runsPublisher) != "":
		os.Exit(publisherProcess())
	}
	iutest.Main(m)
}

const (
	// patience is how long a condition may take on a busy machine.
	patience = 60 * time.Second
	consumer = "publish-nats"
)

// bundle is a database with open gates and a template.
type bundle struct {
	*iutest.DB
	template uuid.UUID
	composed int
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return bundleOf(t, iutest.New(t))
}

func bundleOf(t testing.TB, db *iutest.DB) *bundle {
	t.Helper()
	db.OpenGates(t)
	return &bundle{DB: db, template: db.Template(t, "welcome.letter", 1)}
}

// announce composes n instances and gives them positions.
func (b *bundle) announce(t testing.TB, n int) {
	t.Helper()
	b.announceOf(t, b.template, n)
}

func (b *bundle) announceOf(t testing.TB, template uuid.UUID, n int) {
	t.Helper()
	b.Exec(t, `SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'order.paid', $1, 's-' || n, 'live', 'ann')
		FROM generate_series($2::int, $3::int) AS n`,
		template, b.composed+1, b.composed+n)
	b.composed += n
	b.Exec(t, "SELECT iu_outbox.emit(100000)")
}

func (b *bundle) stream() string { return jetstream.StreamOf(b.Name) }

func value[T any](t testing.TB, b *bundle, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, b.Pool.QueryRow(t.Context(), sql, args...).Scan(&v), sql)
	return v
}

// emissions are the events of the table, by position.
func (b *bundle) emissions(t testing.TB) []string {
	t.Helper()
	return value[[]string](t, b, "SELECT COALESCE(array_agg(event::text ORDER BY position), '{}') FROM iu_outbox.emission WHERE position IS NOT NULL")
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

// sinkConfig is a sink on a server.
func (b *bundle) sinkConfig(servers []string, change ...func(*jetstream.Config)) jetstream.Config {
	cfg := jetstream.Config{Servers: servers, Database: b.Name, Create: true, AckTimeout: 2 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

type running struct {
	*publish.Publisher
	sink    *jetstream.Sink
	metrics *prometheus.Registry
	log     *iutest.Log
	stop    func() error
	done    chan struct{}
	err     error
}

// publisher is how a test publishes.
type publisher struct {
	sink    jetstream.Config
	publish publish.Config
}

func (b *bundle) publisher(t testing.TB, servers []string, change ...func(*publisher)) *publisher {
	t.Helper()
	p := &publisher{sink: b.sinkConfig(servers), publish: publish.Config{
		Pool: b.Pool, Consumer: consumer, Source: "/iu-core/" + b.Name, LeaseTTL: 5 * time.Second,
	}}
	for _, c := range change {
		c(p)
	}
	return p
}

// patient makes a publisher wait for acknowledgements of a slow machine: what it sends again is a duplicate.
func patient(p *publisher) { p.sink.AckTimeout = time.Minute }

// start publishes until the test ends or stop is called.
func (p *publisher) start(t testing.TB) *running {
	t.Helper()
	r := &running{metrics: prometheus.NewRegistry(), log: &iutest.Log{}, done: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	counts := metrics.NewPublisher(r.metrics, nil)
	p.sink.Metrics, p.sink.Logger = counts, logger
	sink, err := jetstream.New(p.sink)
	require.NoError(t, err)
	r.sink = sink
	cfg := p.publish
	cfg.Sink, cfg.Metrics, cfg.Logger = sink, counts, logger
	r.Publisher, err = publish.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(r.done)
		defer sink.Close()
		r.err = r.Run(ctx)
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

// ended waits until it ends by itself.
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

// counted returns the value of a counter.
func (r *running) counted(t testing.TB, name string) int {
	t.Helper()
	families, err := r.metrics.Gather()
	require.NoError(t, err)
	sum := 0.0
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return int(sum)
}

func subscribeRewound(err error) (*subscribe.RewoundError, bool) {
	return errors.AsType[*subscribe.RewoundError](err)
}

func itoa(n int) string { return strconv.Itoa(n) }

const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

// logged waits until the publisher's log has a text.
func (r *running) logged(t testing.TB, text string) {
	t.Helper()
	eventually(t, func() bool { return r.log.Count(text) > 0 }, "the log has: "+text)
}

func eventually(t testing.TB, condition func() bool, what string) {
	t.Helper()
	iutest.Eventually(t, condition, patience, what)
}

// message is one of a stream.
type message struct {
	subject string
	header  nats.Header
	data    string
}

// messages reads a stream from its first message to its last.
func messages(t testing.TB, servers []string, stream string) (all []message) {
	t.Helper()
	jetstream := jsContext(t, servers)
	var s js.Stream
	eventually(t, func() bool {
		s = lookUp(t, jetstream, stream)
		return s != nil
	}, "the stream is found")
	count := int(s.CachedInfo().State.Msgs)
	eventually(t, func() bool {
		all = read(t, s, count)
		return len(all) == count
	}, "the stream is read")
	return all
}

// read returns the first messages of a stream, and fewer if a request gets no reply.
func read(t testing.TB, s js.Stream, count int) (all []message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	defer cancel()
	reader, err := s.OrderedConsumer(ctx, js.OrderedConsumerConfig{})
	if err != nil {
		return nil
	}
	for len(all) < count {
		batch, err := reader.Fetch(count-len(all), js.FetchMaxWait(5*time.Second))
		if err != nil {
			return all
		}
		for msg := range batch.Messages() {
			all = append(all, message{msg.Subject(), msg.Headers(), string(msg.Data())})
		}
		if batch.Error() != nil && !errors.Is(batch.Error(), nats.ErrTimeout) {
			return all
		}
	}
	return all
}

// requestTimeout is how long to wait for a reply: there is none if the server is killed, or the cluster has no leader.
const requestTimeout = 3 * time.Second

// lookUp returns a stream, or nil if it cannot be had now.
func lookUp(t testing.TB, jetstream js.JetStream, stream string) js.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	defer cancel()
	s, err := jetstream.Stream(ctx, stream)
	if err != nil {
		return nil
	}
	return s
}

func jsContext(t testing.TB, servers []string) js.JetStream {
	t.Helper()
	options := nats.GetDefaultOptions()
	options.Servers, options.AllowReconnect = servers, true
	var conn *nats.Conn
	eventually(t, func() (connected bool) {
		var err error
		conn, err = options.Connect()
		return err == nil
	}, "a connection to NATS")
	t.Cleanup(conn.Close)
	context, err := js.New(conn)
	require.NoError(t, err)
	return context
}

// requireEqual fails unless the stream is the table, position by position.
func (b *bundle) requireEqual(t testing.TB, servers []string) []message {
	t.Helper()
	all := messages(t, servers, b.stream())
	b.requireTable(t, all)
	return all
}

func (b *bundle) requireTable(t testing.TB, all []message) {
	t.Helper()
	events := b.emissions(t)
	for i, msg := range all {
		iutest.RequireEvent(t, msg.data)
		iutest.RequireHeaders(t, "natsHeaders", msg.header)
		event, err := subscribe.ParseEvent([]byte(msg.data))
		require.NoError(t, err)
		require.Equal(t, event.Cursor.String(), msg.header.Get("Nats-Msg-Id"))
		require.EqualValues(t, i+1, event.Cursor.Position, "the stream has a gap, a repetition, or is out of order")
		require.Less(t, i, len(events), "the stream has more than the table: %s", msg.data)
		require.Equal(t, events[i], msg.data)
	}
	require.Len(t, all, len(events), "the stream has all events: %s", fmt.Sprint(len(events)))
}
