package subscribe_test

import (
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
	if err := flag.Set("rapid.checks", "4"); err != nil { // each check is a database with much concurrency; the command line may request more
		panic(err)
	}
	iutest.Main(m)
}

// patience is how long tests wait for a condition, which may take long on a busy machine.
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

// compose composes n live instances without announcing them, and returns their keys.
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

// composing configures compose. The zero value of a field is its default.
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

// emit announces all composed instances.
func (b *bundle) emit(t *testing.T) {
	t.Helper()
	b.Exec(t, "SELECT iu_outbox.emit(500)")
}

// announce composes n instances, announces them, and returns their keys.
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

// until waits until a query returns true. No row counts as false.
func (b *bundle) until(t *testing.T, query string, args ...any) {
	t.Helper()
	b.WaitFor(t, patience, "SELECT ("+query+")", args...)
}

// config returns the configuration of a subscriber on the test's database, with short intervals.
func (b *bundle) config(t *testing.T, consumer string, change ...func(*subscribe.Config)) subscribe.Config {
	t.Helper()
	cfg := subscribe.Config{
		Pool: b.Pool, Consumer: consumer, Logger: logger(t), LeaseTTL: 5 * time.Second,
		Retry: subscribe.Retry{Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond},
	}
	for _, c := range change {
		c(&cfg)
	}
	return cfg
}

// running is a running subscriber.
type running struct {
	stop func() error // ends the subscriber, and returns the error of Run
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

// wait waits until the subscriber ends, and returns the error of Run.
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

// inbox collects the events that a handler gets. Safe for concurrent use.
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

// waitFor waits until the inbox holds exactly these keys, in this order.
func (i *inbox) waitFor(t *testing.T, keys ...string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { require.Equal(c, keys, i.keys()) }, patience, 5*time.Millisecond)
	for _, event := range i.all() {
		iutest.RequireEvent(t, string(event.JSON))
	}
}

func logger(t *testing.T) *slog.Logger {
	t.Helper()
	log, _ := logging(t)
	return log
}

func logging(t *testing.T) (*slog.Logger, *iutest.Log) {
	t.Helper()
	l := &iutest.Log{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the subscriber's log:\n%s", l)
		}
	})
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func eventually(t *testing.T, condition func() bool, what ...any) {
	t.Helper()
	iutest.Eventually(t, condition, patience, what...)
}

// assertNoError is require.NoError for goroutines, which must not end the test.
func assertNoError(t *testing.T, err error) bool {
	t.Helper()
	return assert.NoError(t, err)
}
