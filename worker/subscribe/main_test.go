package subscribe_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestMain(m *testing.M) {
	if os.Getenv(envSubscriberURL) != "" {
		os.Exit(subscriberProcess())
	}
	if err := flag.Set("rapid.checks", "4"); err != nil { // each is a database in a storm; the command line may ask for more
		panic(err)
	}
	iutest.Main(m)
}

// patience is how long a condition may take on a busy machine; what is met earlier ends the wait.
const patience = 90 * time.Second

// bundle is a database with open gates and a template.
type bundle struct {
	*iutest.DB
	template uuid.UUID
	composed atomic.Int64
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := iutest.New(t)
	db.OpenGates(t)
	return &bundle{DB: db, template: db.Template(t, "tpl:invoice", 1)}
}

const composeSQL = `SELECT public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), $1, $2, $3, 'live', $4) ->> 'status'`

// compose composes n live instances and answers their keys; nobody has announced them yet.
func (b *bundle) compose(t *testing.T, n int, as ...composing) []string {
	t.Helper()
	how := composing{Template: b.template, EventType: "order.paid", Actor: "billing"}
	if len(as) > 0 {
		how = as[0].or(how)
	}
	var keys []string
	for range n {
		suffix := uniqueSuffix(b.composed.Add(1))
		require.Equal(t, "instantiated", value[string](t, b, composeSQL, how.EventType, how.Template, suffix, how.Actor))
		keys = append(keys, "tpl-inst:auto:"+suffix)
	}
	return keys
}

func uniqueSuffix(n int64) string { return fmt.Sprintf("s-%d", n) }

// composing says how; zero fields are the usual.
type composing struct {
	Template         uuid.UUID
	EventType, Actor string
}

func (c composing) or(d composing) composing {
	if c.Template == uuid.Nil {
		c.Template = d.Template
	}
	if c.EventType == "" {
		c.EventType = d.EventType
	}
	if c.Actor == "" {
		c.Actor = d.Actor
	}
	return c
}

// emit announces what was composed.
func (b *bundle) emit(t *testing.T) {
	t.Helper()
	b.Exec(t, "SELECT iu_outbox.emit(500)")
}

// announce composes n instances, announces them, and answers their keys.
func (b *bundle) announce(t *testing.T, n int, as ...composing) []string {
	t.Helper()
	keys := b.compose(t, n, as...)
	b.emit(t)
	return keys
}

func value[T any](t *testing.T, b *bundle, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, b.Pool.QueryRow(t.Context(), sql, args...).Scan(&v), sql)
	return v
}

// until waits until a query answers true; no row is not true.
func (b *bundle) until(t *testing.T, query string, args ...any) {
	t.Helper()
	b.WaitFor(t, patience, "SELECT ("+query+")", args...)
}

// config is a subscriber on the test's database, impatient with everything.
func (b *bundle) config(t *testing.T, consumer string, change ...func(*subscribe.Config)) subscribe.Config {
	t.Helper()
	cfg := subscribe.Config{
		Pool: b.Pool, Consumer: consumer, Logger: logger(t), LeaseTTL: time.Second,
		Retry: subscribe.Retry{Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond},
	}
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

// running is a subscriber that runs.
type running struct {
	stop func() error // ends it, and answers what Run answered
	done chan struct{}
	err  error
}

// start runs a subscriber until the test ends or stop is called.
func start(t *testing.T, run func(ctx context.Context) error) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = run(ctx)
	}()
	r.stop = func() error {
		cancel()
		<-r.done
		return r.err
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// wait waits until it ends by itself, and answers what Run answered.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		require.FailNow(t, "the subscriber goes on and on")
		return nil
	}
}

// inbox collects what a handler was given. It is safe for concurrent use.
type inbox struct {
	mu     sync.Mutex
	events []subscribe.Event
}

func (i *inbox) handle(_ context.Context, event subscribe.Event) error {
	i.add(event)
	return nil
}

func (i *inbox) add(events ...subscribe.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.events = append(i.events, events...)
}

func (i *inbox) all() []subscribe.Event {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]subscribe.Event(nil), i.events...)
}

func (i *inbox) keys() []string {
	var keys []string
	for _, e := range i.all() {
		keys = append(keys, e.Subject)
	}
	return keys
}

// waitFor waits until it holds these keys, in this order, and nothing else.
func (i *inbox) waitFor(t *testing.T, keys ...string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { require.Equal(c, keys, i.keys()) }, patience, 5*time.Millisecond)
}

// logs collects what a subscriber logs.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.buf.Bytes(), []byte(s))
}

func logger(t *testing.T) *slog.Logger {
	t.Helper()
	log, _ := logging(t)
	return log
}

func logging(t *testing.T) (*slog.Logger, *logs) {
	t.Helper()
	l := &logs{}
	t.Cleanup(func() {
		if t.Failed() {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Logf("the subscriber's log:\n%s", l.buf.String())
		}
	})
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func eventually(t *testing.T, condition func() bool, what ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what...)
}

// assertNoError is require.NoError for goroutines, which must not end the test.
func assertNoError(t *testing.T, err error) bool {
	t.Helper()
	return assert.NoError(t, err)
}
