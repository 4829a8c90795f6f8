package jobs

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

const (
	// Kind is the River kind of the jobs that compose instances.
	Kind = "auto_instantiate"
	// QueueEvents is the queue of live events.
	QueueEvents = "events"
	// QueueScaleout is the queue of bulk work; it has workers of its own, so that it delays no live event.
	QueueScaleout = "scaleout"
	// RiverSchema is the schema that holds River's tables.
	RiverSchema = "iu_river"
	// MaxAttempts is how often a job is tried that fails with an error which will not pass by itself.
	MaxAttempts = 10
)

// AutoInstantiateArgs are the columns of an outbox row. ID is 0 for a job that came by no outbox row
// (bulk scale-out).
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
	IdempotencyKey       string          `json:"idempotency_key" river:"unique"`
	CreatedAt            time.Time       `json:"created_at"`
}

// Kind implements river.JobArgs.
func (AutoInstantiateArgs) Kind() string { return Kind }

// InsertOpts implements river.JobArgsWithInsertOpts: one unfinished job an idempotency key, in whichever
// queue. A job that ended is no obstacle: the next one replays, or composes anew after a rollback.
func (AutoInstantiateArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		MaxAttempts: MaxAttempts,
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

// Due answers since when the event could be composed.
func (a AutoInstantiateArgs) Due() time.Time {
	if a.AvailableAt.After(a.CreatedAt) {
		return a.AvailableAt
	}
	return a.CreatedAt
}

// Traceparent answers the W3C traceparent that the application put into trace_context, or "".
func (a AutoInstantiateArgs) Traceparent() string {
	var carrier struct {
		Traceparent string `json:"traceparent"`
	}
	if json.Unmarshal(a.TraceContext, &carrier) != nil {
		return "" // whatever else an application keeps there is its own affair
	}
	return carrier.Traceparent
}
