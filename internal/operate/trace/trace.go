package trace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
)

// Event is everything that is known about one event for one template. Parts that it has not reached, or that were deleted (River deletes
// jobs after a while), are nil or empty.
type Event struct {
	IdempotencyKey    string     `json:"idempotency_key"`
	EventID           *uuid.UUID `json:"event_id"`
	TemplateID        *uuid.UUID `json:"template_collection_id"`
	TemplateKey       *string    `json:"template_key"` // nil if there is no such collection
	InstanceKeySuffix string     `json:"instance_key_suffix"`

	State string `json:"state"` // one of operate.EventStates, or operate.EventGone
	Waits string `json:"waits"` // what for, and the way out; "" if it waits for nothing

	Outbox      []OutboxRow          `json:"outbox"` // lowest id first
	Jobs        []Job                `json:"jobs"`   // youngest first
	DeadLetters []operate.DeadLetter `json:"dead_letters"`
	Instance    *Instance            `json:"instance"`
	Emission    *Emission            `json:"emission"`
	Consumers   []Consumer           `json:"consumers"`
}

// OutboxRow is a row that the relay has not taken yet.
type OutboxRow struct {
	ID          int64     `json:"id"`
	EventType   string    `json:"event_type"`
	EmitMode    string    `json:"emit_mode"`
	Actor       string    `json:"actor"`
	Priority    int16     `json:"priority"`
	AvailableAt time.Time `json:"available_at"`
	CreatedAt   time.Time `json:"created_at"`
}

// Job is a River job.
type Job struct {
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
	Errors      []Failure                `json:"errors"` // oldest first
	Args        jobs.AutoInstantiateArgs `json:"args"`
	Output      *compose.Result          `json:"output"` // what the function returned last
	Parked      *Parked                  `json:"parked"`
	Retry       *Retry                   `json:"retry"`

	// Cancellable reports whether it has not begun, or waits for another attempt.
	Cancellable bool `json:"-"`

	unfinished bool
	retrying   bool
	reason     *string // why it is parked, or its last error
}

// Failure is an attempt that failed.
type Failure struct {
	At      time.Time `json:"at"`
	Attempt int       `json:"attempt"`
	Error   string    `json:"error"`
}

// Parked is why a job waits for a gate.
type Parked struct {
	Gate   compose.Gate `json:"gate"`
	Reason string       `json:"reason"`
	At     time.Time    `json:"at"`
}

// Retry counts the errors that may pass by themselves.
type Retry struct {
	Count   int       `json:"count"`
	FirstAt time.Time `json:"first_at"`
	Error   string    `json:"error"`
}

// Instance is the composed instance, with its digests as recorded and as they are now.
type Instance struct {
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

// Emission is the announcement.
type Emission struct {
	InstanceID   uuid.UUID       `json:"instance_collection_id"`
	Position     *int64          `json:"position"`
	Cursor       string          `json:"cursor"`
	Event        json.RawMessage `json:"event"`
	CreatedAt    time.Time       `json:"created_at"`
	EmittedAt    *time.Time      `json:"emitted_at"`
	RolledBackAt *time.Time      `json:"rolled_back_at"`
}

// Consumer is a named consumer. Past reports whether it is past the emission, nil if that is not known.
type Consumer struct {
	Name     string `json:"name"`
	Position int64  `json:"position"`
	State    string `json:"state"`
	Past     *bool  `json:"past"`
}

// ErrNotFound is wrapped by Find's error if nothing is known.
var ErrNotFound = errors.New("not found")

// Find returns what is known of an event id, an idempotency key, an instance's id or key, the number of a River job, or a prefix
// of an id or a key: an Event for each idempotency key, by key. It reads in one snapshot.
func Find(ctx context.Context, db operate.Beginner, reference string) ([]Event, error) {
	reference = strings.TrimSpace(reference)
	r := &reader{events: map[string]*Event{}}
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, db, options, func(tx pgx.Tx) error {
		r.tx = tx
		return r.read(ctx, reference)
	})
	if err != nil {
		return nil, fmt.Errorf("trace %.80q: %w", reference, err)
	}
	events := make([]Event, 0, len(r.events))
	for _, key := range slices.Sorted(maps.Keys(r.events)) {
		events = append(events, *r.events[key])
	}
	if len(events) == 0 {
		return nil, fmt.Errorf("trace %.80q: %w: give an event id, an idempotency key, an instance's id or key, or a job's number",
			reference, ErrNotFound)
	}
	return events, nil
}

// NoWorker reports whether the event waits because no worker is alive.
func (e *Event) NoWorker() bool { return e.Waits == noWorker }
