package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/jobs"
)

// Result is what fn_iu_auto_instantiate_from_event returns. The fields other than Status are set if the status has them.
type Result struct {
	Status               jobs.Status `json:"status"`
	Detail               string      `json:"detail,omitempty"`
	InstanceCollectionID *uuid.UUID  `json:"instance_collection_id,omitempty"`
	InstanceKey          string      `json:"instance_key,omitempty"`
	PieceCount           int         `json:"piece_count,omitempty"`
	IdempotencyKey       string      `json:"idempotency_key,omitempty"`

	// Completed says that the transaction which composed the instance has completed the job, with this result as its output.
	Completed bool `json:"-"`
}

// Emission is how many emissions a transaction gave positions, and whether it sent their notifications.
type Emission struct {
	Emitted      int
	LastPosition int64
	Notified     bool
}

// ErrKeyHeld means that another transaction holds the instance key, the template or one of its pieces. It passes.
var ErrKeyHeld = errors.New("another transaction holds the instance key, the template or one of its pieces")

// errHeld is ErrKeyHeld for an event that was tried apart, with the code with which waiting for the lock would have ended.
var errHeld = fmt.Errorf("%w (SQLSTATE %s)", ErrKeyHeld, pgerrcode.LockNotAvailable)

// Ids are passed as texts: arrays of texts work in every mode of the protocol, those for transaction poolers included.
const (
	composeSQL = `
	SELECT b.n, b.result, b.completed
	FROM iu_outbox.compose_batch($1::text[]::uuid[], $2, $3::text[]::uuid[], $4, $5, $6, $7,
		CASE WHEN iu_outbox.fence(NULLIF($9, ''), $10) THEN $8::text[] END, $11, $12, NULLIF($13::integer, 0)) AS b`

	composeApartSQL = `
	SELECT b.n, b.result, false
	FROM iu_outbox.compose_apart($1::text[]::uuid[], $2, $3::text[]::uuid[], $4, $5, $6, $7,
		CASE WHEN iu_outbox.fence(NULLIF($9, ''), $10) THEN $8::text[] END) AS b`

	// A timeout applies from the next statement on: so a statement before it sets it, in the same transaction and round trip.
	// The emitter's doorbell is off for a transaction that announces itself.
	settingsSQL = "SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('iu_outbox.doorbell', $2, true)"

	emitSQL = "SELECT emitted, COALESCE(last_position, 0), COALESCE(notified, false) FROM iu_outbox.emit_alone()"
)

// sqlStateFenced is what iu_outbox.fence raises.
const sqlStateFenced = "IU002"

// grace is how much longer than the server's timeout this process waits.
const grace = 5 * time.Second

// Event is an event to compose, with the job that it is the event of. No job: the zero JobID.
type Event struct {
	jobs.AutoInstantiateArgs

	JobID   int64
	Attempt int
}

// batchCall is a call of a function that composes a batch.
type batchCall struct {
	events  []Event
	traces  []string // what the emissions carry (emittedTrace)
	by      Incarnation
	timeout time.Duration // of the statement
}

// composed is what one transaction did: a reply to each event that it got to; and what it announced, nil if nothing.
type composed struct {
	replies  []*reply
	emission *Emission
}

// composeAll composes events in one statement and transaction, and with emit announces the one that there is at its end, if it
// can. Events of one template form a set if there are least of them; 0: never. After an error nothing is composed.
func composeAll(ctx context.Context, pool *pgxpool.Pool, batch batchCall, least int, emit bool) (composed, error) {
	c := composed{replies: make([]*reply, len(batch.events))}
	var emission *Emission
	if emit {
		emission = &Emission{}
	}
	jobIDs, attempts := batch.jobs()
	err := call(ctx, pool, composeSQL, batch, []any{jobIDs, attempts, least}, emission, func(n int, raw []byte, completed bool) error {
		if raw == nil {
			c.replies[n-1] = &reply{err: ErrKeyHeld}
			return nil
		}
		c.replies[n-1] = &reply{result: Result{Completed: completed}}
		return json.Unmarshal(raw, &c.replies[n-1].result)
	})
	if err != nil {
		return composed{}, fmt.Errorf("call compose_batch: %w", err)
	}
	if emit && emission.Emitted > 0 {
		c.emission = emission
	}
	return c, nil
}

// composeApart composes events in one transaction, each of which fails by itself, and returns one reply for each. After an error
// nothing is composed.
func composeApart(ctx context.Context, pool *pgxpool.Pool, batch batchCall) ([]reply, error) {
	replies := make([]reply, len(batch.events))
	for i := range replies {
		replies[i].err = errHeld
	}
	err := call(ctx, pool, composeApartSQL, batch, nil, nil, func(n int, raw []byte, _ bool) error {
		var result struct {
			Result

			Error *pgconn.PgError `json:"error"`
		}
		if raw == nil {
			return nil
		}
		if err := json.Unmarshal(raw, &result); err != nil {
			return err
		}
		replies[n-1] = reply{result: result.Result}
		if result.Error != nil {
			replies[n-1] = reply{err: fmt.Errorf("call fn_iu_auto_instantiate_from_event: %w", result.Error)}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("call compose_apart: %w", err)
	}
	return replies, nil
}

// call composes a batch by a statement that returns numbers of events, their results, nil if another transaction delays one, and
// whether their jobs are completed. The timeout is this program's own, whatever the role's or the database's is. Unless
// emission is nil the transaction then announces what it composed.
func call(
	ctx context.Context, pool *pgxpool.Pool, sql string, batch batchCall, more []any, emission *Emission,
	each func(n int, raw []byte, completed bool) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, batch.timeout+grace)
	defer cancel()
	statements := &pgx.Batch{}
	statements.Queue(settingsSQL, strconv.FormatInt(batch.timeout.Milliseconds(), 10), doorbell(emission))
	statements.Queue(sql, append(batch.columns(), more...)...)
	if emission != nil {
		statements.Queue(emitSQL)
	}
	results := pool.SendBatch(ctx, statements)
	if _, err := results.Exec(); err != nil {
		return errors.Join(err, results.Close())
	}
	var n int
	var raw []byte
	var completed bool
	rows, err := results.Query()
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&n, &raw, &completed}, func() error { return each(n, raw, completed) })
	}
	if err == nil && emission != nil {
		err = results.QueryRow().Scan(&emission.Emitted, &emission.LastPosition, &emission.Notified)
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr // of the commit
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == sqlStateFenced {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	return err
}

func (b batchCall) columns() []any {
	n := len(b.events)
	eventIDs, templates := make([]string, n), make([]string, n)
	types, suffixes, modes, actors := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	notes := make([]*string, n)
	for i, e := range b.events {
		eventIDs[i], types[i], templates[i], suffixes[i] = e.EventID.String(), e.EventType, e.TemplateCollectionID.String(), e.InstanceKeySuffix
		modes[i], actors[i], notes[i] = e.EmitMode, e.Actor, e.Note
	}
	return []any{eventIDs, types, templates, suffixes, modes, actors, notes, b.traces, b.by.Worker, b.by.Number}
}

// jobs returns the jobs to complete with their attempts. They are nil for a single event: River completes its job later, and so
// nobody waits for that.
func (b batchCall) jobs() (ids []int64, attempts []int) {
	if len(b.events) == 1 {
		return nil, nil
	}
	for _, e := range b.events {
		ids, attempts = append(ids, e.JobID), append(attempts, e.Attempt)
	}
	return ids, attempts
}
