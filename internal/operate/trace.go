package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/jobs"
)

// Trace is all that is known of one event for one template: where it was, where it is, and what it waits for. Parts
// that it has not reached, or that were forgotten (River deletes jobs after a while), are nil or empty.
type Trace struct {
	IdempotencyKey    string     `json:"idempotency_key"`
	EventID           *uuid.UUID `json:"event_id"`
	TemplateID        *uuid.UUID `json:"template_collection_id"`
	TemplateKey       *string    `json:"template_key"` // nil if there is no such collection
	InstanceKeySuffix string     `json:"instance_key_suffix"`

	State string `json:"state"` // waiting, working, parked, done, dead, rolled_back, or gone
	Waits string `json:"waits"` // what for, and the way out; "" if it waits for nothing

	Outbox      []TraceOutbox   `json:"outbox"` // rows, lowest id first
	Jobs        []TraceJob      `json:"jobs"`   // youngest first
	DeadLetters []DeadLetter    `json:"dead_letters"`
	Instance    *TraceInstance  `json:"instance"`
	Emission    *TraceEmission  `json:"emission"`
	Consumers   []TraceConsumer `json:"consumers"`
}

// TraceOutbox is a row that the relay has not taken yet.
type TraceOutbox struct {
	ID          int64     `json:"id"`
	EventType   string    `json:"event_type"`
	EmitMode    string    `json:"emit_mode"`
	Actor       string    `json:"actor"`
	Priority    int16     `json:"priority"`
	AvailableAt time.Time `json:"available_at"`
	CreatedAt   time.Time `json:"created_at"`
}

// TraceJob is a River job.
type TraceJob struct {
	ID          int64                    `json:"id"`
	Queue       string                   `json:"queue"`
	QueuePaused bool                     `json:"queue_paused"`
	State       string                   `json:"state"`
	Attempt     int                      `json:"attempt"`
	MaxAttempts int                      `json:"max_attempts"`
	CreatedAt   time.Time                `json:"created_at"`
	ScheduledAt time.Time                `json:"scheduled_at"`
	AttemptedAt *time.Time               `json:"attempted_at"`
	FinalizedAt *time.Time               `json:"finalized_at"`
	Worker      *string                  `json:"worker"` // had it last
	Errors      []TraceError             `json:"errors"` // oldest first
	Args        jobs.AutoInstantiateArgs `json:"args"`
	Output      *compose.Result          `json:"output"` // what the function answered last
	Parked      *TraceParked             `json:"parked"`
	Retry       *TraceRetry              `json:"retry"`
}

// TraceError is an attempt that failed.
type TraceError struct {
	At      time.Time `json:"at"`
	Attempt int       `json:"attempt"`
	Error   string    `json:"error"`
}

// TraceParked is why a job waits for a gate.
type TraceParked struct {
	Gate   compose.Gate `json:"gate"`
	Reason string       `json:"reason"`
	At     time.Time    `json:"at"`
}

// TraceRetry counts the errors that may pass by themselves.
type TraceRetry struct {
	Count   int       `json:"count"`
	FirstAt time.Time `json:"first_at"`
	Error   string    `json:"error"`
}

// TraceInstance is what was composed, with the digests as they were recorded and as they are now.
type TraceInstance struct {
	ID              uuid.UUID `json:"instance_collection_id"`
	Key             string    `json:"instance_key"`
	Title           *string   `json:"title"`
	EventType       string    `json:"event_type"`
	EmitMode        string    `json:"emit_mode"`
	Actor           string    `json:"actor"`
	CreatedAt       time.Time `json:"created_at"`
	TemplateVersion *int      `json:"template_version"`
	RecordedDigest  *string   `json:"recorded_digest"` // of the template, when it was composed
	TemplateDigest  *string   `json:"template_digest"`
	InstanceDigest  *string   `json:"instance_digest"`
	DigestMatch     *bool     `json:"digest_match"`
}

// TraceEmission is the announcement.
type TraceEmission struct {
	InstanceID   uuid.UUID       `json:"instance_collection_id"`
	Position     *int64          `json:"position"`
	Cursor       string          `json:"cursor"`
	Event        json.RawMessage `json:"event"`
	CreatedAt    time.Time       `json:"created_at"`
	EmittedAt    *time.Time      `json:"emitted_at"`
	RolledBackAt *time.Time      `json:"rolled_back_at"`
}

// TraceConsumer is a named consumer and whether it is past the emission; Past is nil if its place says nothing.
type TraceConsumer struct {
	Name     string `json:"name"`
	Position int64  `json:"position"`
	State    string `json:"state"`
	Past     *bool  `json:"past"`
}

// ErrNoTrace is wrapped by FindTraces's error if nothing is known.
var ErrNoTrace = errors.New("not found")

const traceLimit = 50 // traces of one event, and rows of each kind

var keyForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// FindTraces returns what is known of an event id, an idempotency key, an instance's id or key, or the number of a
// River job: a trace for each idempotency key. It reads in one snapshot.
func FindTraces(ctx context.Context, db Beginner, reference string) ([]Trace, error) {
	reference = strings.TrimSpace(reference)
	tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("trace %.80q: %w", reference, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only read
	found := &tracing{tx: tx, traces: map[string]*Trace{}}
	if err := found.read(ctx, reference); err != nil {
		return nil, fmt.Errorf("trace %.80q: %w", reference, err)
	}
	traces := make([]Trace, 0, len(found.traces))
	for _, trace := range found.traces {
		traces = append(traces, *trace)
	}
	slices.SortFunc(traces, func(a, b Trace) int { return strings.Compare(a.IdempotencyKey, b.IdempotencyKey) })
	if len(traces) == 0 {
		return nil, fmt.Errorf("trace %.80q: %w: give an event id, an idempotency key, an instance's id or key, or a job's number",
			reference, ErrNoTrace)
	}
	return traces, nil
}

// tracing collects traces by idempotency key.
type tracing struct {
	tx     pgx.Tx
	traces map[string]*Trace
}

// of returns the trace of a key; the first who knows the rest fills it in.
func (t *tracing) of(key string, event, template uuid.UUID, suffix string) *Trace {
	trace := t.traces[key]
	if trace == nil {
		trace = &Trace{IdempotencyKey: key}
		t.traces[key] = trace
	}
	if trace.EventID == nil && event != uuid.Nil {
		trace.EventID, trace.TemplateID, trace.InstanceKeySuffix = &event, &template, suffix
	}
	return trace
}

func (t *tracing) read(ctx context.Context, reference string) error {
	by, err := t.resolve(ctx, reference)
	if err != nil || by == nil {
		return err
	}
	for _, read := range []func(context.Context, *traceKey) error{
		t.readOutbox, t.readJobs, t.readInstances, t.readDeadLetters,
	} {
		if err := read(ctx, by); err != nil {
			return err
		}
	}
	for _, trace := range t.traces {
		if err := t.readEmission(ctx, trace, by); err != nil {
			return err
		}
		if err := t.readTemplate(ctx, trace); err != nil {
			return err
		}
		if err := t.explain(ctx, trace); err != nil {
			return err
		}
	}
	return nil
}

// NoWorker reports whether an event waits because no worker is alive.
func (trace *Trace) NoWorker() bool { return trace.Waits == noWorker }
