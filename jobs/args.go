package jobs

import (
	"cmp"
	"crypto/md5" //nolint:gosec // idempotency keys are an md5 by contract; it protects nothing
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/internal/names"
)

const (
	// Kind is the River kind of the jobs that compose instances.
	Kind = "auto_instantiate"
	// QueueEvents is the queue of live events.
	QueueEvents = "events"
	// QueueScaleout is the queue of bulk work. Its lanes are separate, so that it does not delay live events.
	QueueScaleout = "scaleout"
	// RiverSchema is the schema that holds River's tables.
	RiverSchema = names.RiverSchema
	// MaxAttempts is how often a job is tried. Transient errors do not count.
	MaxAttempts = 10
)

// AutoInstantiateArgs are the arguments of a job: the columns of an outbox row. Create them with NewAutoInstantiate. ID is 0 if
// the job does not come from an outbox row: it belongs to a scale-out, or an application inserted it.
//
// A job is unique by the IdempotencyKey in its JSON. MarshalJSON computes the key if it is empty, and fails if it does not match
// the event. The worker cancels a job whose key does not match.
type AutoInstantiateArgs struct {
	ID                   int64           `json:"id,omitempty"`
	EventID              uuid.UUID       `json:"event_id"`
	EventType            string          `json:"event_type"`
	TemplateCollectionID uuid.UUID       `json:"template_collection_id"`
	InstanceKeySuffix    string          `json:"instance_key_suffix"`
	EmitMode             string          `json:"emit_mode"`
	Actor                string          `json:"actor"`
	Note                 *string         `json:"note,omitempty"`
	Priority             int16           `json:"priority"`
	AvailableAt          time.Time       `json:"available_at"`
	TraceContext         json.RawMessage `json:"trace_context,omitempty"`
	IdempotencyKey       string          `json:"idempotency_key" river:"unique"` // Key(); computed if it is empty
	CreatedAt            time.Time       `json:"created_at"`
}

// Kind implements river.JobArgs.
func (AutoInstantiateArgs) Kind() string { return Kind }

// InsertOpts implements river.JobArgsWithInsertOpts. All queues together have at most one unfinished job per idempotency key.
// After it has ended, another one can be inserted: it ends as a replay, or composes again after a rollback.
func (a AutoInstantiateArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		MaxAttempts: MaxAttempts,
		Priority:    int(min(max(a.Priority, 0), 4)), // 0 is River's default
		Queue:       QueueEvents,
		UniqueOpts: river.UniqueOpts{
			ByArgs: true,
			ByState: []rivertype.JobState{
				rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
				rivertype.JobStateRunning, rivertype.JobStateScheduled,
			},
		},
	}
}

// NewAutoInstantiate validates the arguments of a job and fills in empty fields: a new EventID, EmitMode live, Priority 1,
// AvailableAt and CreatedAt now, and the idempotency key. Its error names the first invalid field and wraps ErrInvalidArgs.
// Insert the result with any of River's Insert methods, which skip it if there is an unfinished job of the same event.
func NewAutoInstantiate(event AutoInstantiateArgs) (AutoInstantiateArgs, error) {
	if event.EventID == uuid.Nil {
		event.EventID = uuid.New()
	}
	event.EmitMode = cmp.Or(event.EmitMode, "live")
	event.Priority = cmp.Or(event.Priority, 1)
	now := time.Now().UTC()
	if event.CreatedAt.IsZero() {
		event.CreatedAt = now
	}
	if event.AvailableAt.IsZero() {
		event.AvailableAt = now
	}
	if err := event.check(); err != nil {
		return event, err
	}
	event.IdempotencyKey = cmp.Or(event.IdempotencyKey, event.Key())
	return event, event.CheckKey()
}

// ErrInvalidArgs is wrapped by the errors for arguments that the worker would refuse.
var ErrInvalidArgs = errors.New("not the arguments of a job of kind " + Kind)

func (a AutoInstantiateArgs) check() error {
	for _, text := range []struct{ name, value string }{
		{"event_type", a.EventType}, {"instance_key_suffix", a.InstanceKeySuffix}, {"actor", a.Actor},
	} {
		switch {
		case strings.TrimSpace(text.value) == "":
			return fmt.Errorf("%w: %s is blank", ErrInvalidArgs, text.name)
		case utf8.RuneCountInString(text.value) > 200:
			return fmt.Errorf("%w: %s has over 200 characters", ErrInvalidArgs, text.name)
		case !utf8.ValidString(text.value) || strings.ContainsRune(text.value, 0):
			return fmt.Errorf("%w: %s is not valid UTF-8, or has a zero byte in it", ErrInvalidArgs, text.name)
		}
	}
	var trace map[string]any
	switch {
	case a.TemplateCollectionID == uuid.Nil:
		return fmt.Errorf("%w: template_collection_id is missing", ErrInvalidArgs)
	case a.EmitMode != "live" && a.EmitMode != "dry_run":
		return fmt.Errorf("%w: emit_mode is %q: it must be live or dry_run", ErrInvalidArgs, a.EmitMode)
	case a.Priority < 1 || a.Priority > 4:
		return fmt.Errorf("%w: priority is %d: it must be from 1, the highest, to 4", ErrInvalidArgs, a.Priority)
	case a.Note != nil && utf8.RuneCountInString(*a.Note) > 2000:
		return fmt.Errorf("%w: note has over 2000 characters", ErrInvalidArgs)
	case a.TraceContext != nil && (json.Unmarshal(a.TraceContext, &trace) != nil || len(a.TraceContext) > 4096):
		return fmt.Errorf("%w: trace_context must be a JSON object of 4 kB at most", ErrInvalidArgs)
	}
	return nil
}

// Key returns the idempotency key of the event, as the outbox and the SQL function compute it.
func (a AutoInstantiateArgs) Key() string {
	sum := md5.Sum([]byte(a.EventID.String() + ":" + a.TemplateCollectionID.String() + ":" + a.InstanceKeySuffix)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// CheckKey returns an error if the idempotency key does not match the event. It accepts any key of an outbox row: the database
// computed it from the suffix in its own encoding.
func (a AutoInstantiateArgs) CheckKey() error {
	if a.ID != 0 {
		return nil
	}
	if key := a.Key(); a.IdempotencyKey != key {
		return fmt.Errorf("%w: idempotency_key is %.40q and not %s, the event's: leave it out, or insert by jobs.NewAutoInstantiate",
			ErrInvalidArgs, a.IdempotencyKey, key)
	}
	return nil
}

// MarshalJSON implements json.Marshaler. It fills in the idempotency key, and fails if the key does not match the event.
func (a AutoInstantiateArgs) MarshalJSON() ([]byte, error) {
	if a.IdempotencyKey == "" {
		a.IdempotencyKey = a.Key()
	}
	if err := a.CheckKey(); err != nil {
		return nil, err
	}
	type plain AutoInstantiateArgs // does not have this method
	return json.Marshal(plain(a))
}

// Due returns the earliest time at which the event could be composed.
func (a AutoInstantiateArgs) Due() time.Time {
	if a.AvailableAt.After(a.CreatedAt) {
		return a.AvailableAt
	}
	return a.CreatedAt
}

// Trace returns the W3C traceparent and tracestate in TraceContext. A missing one is "".
func (a AutoInstantiateArgs) Trace() (traceparent, tracestate string) {
	var carrier struct {
		Traceparent text `json:"traceparent"`
		Tracestate  text `json:"tracestate"`
	}
	if json.Unmarshal(a.TraceContext, &carrier) != nil {
		return "", ""
	}
	return string(carrier.Traceparent), string(carrier.Tracestate)
}

// text is a string in a JSON object of the application. JSON values of other types decode to "".
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*t = text(s)
	}
	return nil
}
