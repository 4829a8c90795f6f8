package worker_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/tracing"
	"github.com/iu-core/iuworker/worker"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// receiver is an OpenTelemetry collector that keeps the spans it receives.
type receiver struct {
	*httptest.Server

	mu    sync.Mutex
	spans []*otlp.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &export)
		}
		if err != nil || request.URL.Path != "/v1/traces" {
			http.Error(w, "cannot read this", http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, resource := range export.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				r.spans = append(r.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// of returns the spans of a trace by name.
func (r *receiver) of(traceID string) map[string]*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := make(map[string]*otlp.Span)
	for _, span := range r.spans {
		if hex.EncodeToString(span.GetTraceId()) == traceID {
			found[span.GetName()] = span
		}
	}
	return found
}

func (r *receiver) provider(t *testing.T) *tracing.Provider {
	t.Helper()
	endpoint, err := tracing.Endpoint(r.URL, func(string) string { return "" })
	require.NoError(t, err)
	p, err := tracing.New(t.Context(), tracing.Config{Endpoint: endpoint, Version: "1.2.3", Logger: logger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop(context.WithoutCancel(t.Context()))) })
	return p
}

const insertTraced = `
	INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, trace_context)
	VALUES ($1, 'order.paid', $2, $3, $4)`

// One trace spans the way from the application's transaction to the subscriber.
func TestTraceLeadsFromTheApplicationToTheSubscriber(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	received := newReceiver(t)
	provider := received.provider(t)
	log, lines := logging(t)
	start(t, db, func(c *worker.Config) { c.Tracing, c.Logger = provider, log })
	const traceID, application = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	conn := listen(t, db)
	db.Exec(t, insertTraced, uuid.New(), template, "s",
		`{"traceparent": "00-`+traceID+`-`+application+`-01", "tracestate": "v=1", "mine": {"kept": true}}`)
	event, err := subscribe.ParseEvent([]byte(nextEvent(t, conn)))
	require.NoError(t, err)

	iutest.Eventually(t, func() bool {
		return provider.ForceFlush(t.Context()) == nil && len(received.of(traceID)) == 4
	}, patience)
	spans := received.of(traceID)
	relay, job, call, emit := spans["relay"], spans["auto_instantiate"], spans["fn_iu_auto_instantiate_from_event"], spans["emit"]
	require.Equal(t, application, hex.EncodeToString(relay.GetParentSpanId()))
	require.Equal(t, relay.GetSpanId(), job.GetParentSpanId())
	require.Equal(t, job.GetSpanId(), call.GetParentSpanId())
	require.Equal(t, job.GetSpanId(), emit.GetParentSpanId())
	require.Equal(t, []string{"v=1", "v=1"}, []string{job.GetTraceState(), emit.GetTraceState()})
	require.Equal(t, "v=1", event.TraceState)

	follows := trace.SpanContextFromContext(event.Traced(t.Context()))
	require.Equal(t, traceID, follows.TraceID().String())
	require.Equal(t, hex.EncodeToString(job.GetSpanId()), follows.SpanID().String())
	require.True(t, follows.IsRemote())
	require.Equal(t, "v=1", follows.TraceState().String())

	kept := value[json.RawMessage](t, db, "SELECT args -> 'trace_context' -> 'mine' FROM iu_river.river_job")
	require.JSONEq(t, `{"kept": true}`, string(kept))
	require.Empty(t, logged(lines, "level=WARN"))
}

func TestLogLinesOfJobsCarryTheTrace(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	log, lines := logging(t)
	start(t, db, func(c *worker.Config) { c.Logger = log })
	const traceID = "1af7651916cd43dd8448eb211c80319c"
	event := uuid.New()
	db.Exec(t, insertTraced, event, uuid.New(), "s", `{"traceparent": "00-`+traceID+`-b7ad6b7169203331-01"}`)
	iutest.Eventually(t, func() bool { return lines.Count("trace_id="+traceID) == 1 }, patience, "without tracing, too")
	require.Equal(t, 1, lines.Count("event_id="+event.String()))
	require.Equal(t, 1, lines.Count("status=template_not_found"))
}

// A trace that the application does not sample is not sampled here either.
func TestTraceFollowsTheApplicationsSampling(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	received := newReceiver(t)
	provider := received.provider(t)
	start(t, db, func(c *worker.Config) { c.Tracing = provider })
	const traceparent = "00-2af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	conn := listen(t, db)
	db.Exec(t, insertTraced, uuid.New(), template, "s", `{"traceparent": "`+traceparent+`"}`)
	event, err := subscribe.ParseEvent([]byte(nextEvent(t, conn)))
	require.NoError(t, err)
	require.Equal(t, traceparent, event.TraceParent)
	require.NoError(t, provider.ForceFlush(t.Context()))
	require.Empty(t, received.of("2af7651916cd43dd8448eb211c80319c"))
}

// The relay starts a trace for an event that has none.
func TestTraceBeginsWithTheRelay(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	received := newReceiver(t)
	provider := received.provider(t)
	start(t, db, func(c *worker.Config) { c.Tracing = provider })
	conn := listen(t, db)
	insert(t, db, template, "s")
	event, err := subscribe.ParseEvent([]byte(nextEvent(t, conn)))
	require.NoError(t, err)
	traceID := trace.SpanContextFromContext(event.Traced(t.Context())).TraceID().String()
	iutest.Eventually(t, func() bool {
		return provider.ForceFlush(t.Context()) == nil && len(received.of(traceID)) == 4
	}, patience)
	require.Empty(t, received.of(traceID)["relay"].GetParentSpanId())
}

// A worker without tracing passes on the application's trace, even over a retry, a rollback and a new instance.
func TestTracestateReachesTheSubscriber(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	start(t, db)
	conn := listen(t, db)
	const traceparent = "00-3af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	next := func() subscribe.Event {
		t.Helper()
		event, err := subscribe.ParseEvent([]byte(nextEvent(t, conn)))
		require.NoError(t, err)
		return event
	}
	say := func(id uuid.UUID, suffix, state string) {
		db.Exec(t, insertTraced, id, template, suffix, `{"traceparent": "`+traceparent+`", "tracestate": `+state+`}`)
	}
	db.Exec(t, "UPDATE iu_collection_template_registry SET is_template = false")
	retried := uuid.New()
	say(retried, "retried", `" v=1 ,w=2"`)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter")
	db.Exec(t, "UPDATE iu_collection_template_registry SET is_template = true; SELECT iu_outbox.retry_dead_letters(NULL, NULL, 10)")
	event := next()
	require.Equal(t, []string{traceparent, "v=1,w=2"}, []string{event.TraceParent, event.TraceState})

	for suffix, state := range map[string]string{"invalid": `"no state"`, "number": "5", "object": `{"a": 1}`} {
		say(uuid.New(), suffix, state)
		event := next()
		require.Equal(t, []string{traceparent, ""}, []string{event.TraceParent, event.TraceState}, suffix)
	}

	db.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('postgres', false)")
	page, err := subscribe.Read(t.Context(), db.Pool, subscribe.Cursor{}, subscribe.Filter{}, 1)
	require.NoError(t, err)
	require.True(t, page.Events[0].RolledBack())
	require.Equal(t, "v=1,w=2", page.Events[0].TraceState)
	eventually(t, db, "SELECT bool_and(state IN ('completed', 'cancelled')) FROM iu_river.river_job")
	say(retried, "retried", `"x=3"`)
	require.Equal(t, "x=3", next().TraceState, "it is composed again, in the trace that it came with now")
}

// A trace that the relay starts ignores a tracestate that came without a traceparent.
func TestTracestateWithoutATraceIsLeftOut(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	provider := newReceiver(t).provider(t)
	start(t, db, func(c *worker.Config) { c.Tracing = provider })
	conn := listen(t, db)
	db.Exec(t, insertTraced, uuid.New(), template, "s", `{"traceparent": "nonsense", "tracestate": "v=1"}`)
	event, err := subscribe.ParseEvent([]byte(nextEvent(t, conn)))
	require.NoError(t, err)
	require.NotEmpty(t, event.TraceParent)
	require.Empty(t, event.TraceState)
}
