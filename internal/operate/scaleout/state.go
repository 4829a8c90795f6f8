package scaleout

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
)

// Left counts the events of a scale-out that are not composed: its unfinished jobs, its dead letters, and the events that were put
// back into the outbox. A paused queue stops all scale-outs.
type Left struct {
	Waiting     int64 `json:"waiting"`  // in the queue
	Running     int64 `json:"running"`  // now
	Retrying    int64 `json:"retrying"` // failed, and wait for their next attempt
	Parked      int64 `json:"parked"`   // until a gate opens
	Outbox      int64 `json:"outbox"`
	DeadLetters int64 `json:"dead_letters"`
	QueuePaused bool  `json:"queue_paused"`

	last int // the greatest number among the unfinished jobs
}

// Unfinished returns how many may still be composed without an operator.
func (l Left) Unfinished() int64 {
	return l.Waiting + l.Running + l.Retrying + l.Parked + l.Outbox
}

// Status is the progress of a scale-out.
type Status struct {
	Prefix   string `json:"prefix"`
	Composed int64  `json:"composed"`
	Left
}

// ErrNotFound is wrapped by Read's error if nothing is known of a prefix.
var ErrNotFound = errors.New("no such scale-out")

// ofPrefix returns the condition that a suffix is one of the scale-out $1.
func ofPrefix(suffix string) string {
	return `(pg_catalog.starts_with(` + suffix + `, $1::text || '-')
		AND pg_catalog.substr(` + suffix + `, pg_catalog.length($1::text) + 2) ~ '^[1-9][0-9]{0,7}$')`
}

// ReadLeft counts what is left of a scale-out. It reads all unfinished jobs, which takes a second for some hundred thousand.
func ReadLeft(ctx context.Context, q operate.Querier, prefix string) (Left, error) {
	var l Left
	err := q.QueryRow(ctx, `
		WITH job AS (
			SELECT j.state, j.event_state, j.retrying,
				pg_catalog.substr(j.event ->> 'instance_key_suffix', pg_catalog.length($1::text) + 2)::integer AS n
			FROM iu_outbox.job AS j
			WHERE j.unfinished AND `+ofPrefix("(j.event ->> 'instance_key_suffix')")+`
		), counted AS (
			SELECT pg_catalog.count(*) FILTER (WHERE j.state = 'running') AS running,
				pg_catalog.count(*) FILTER (WHERE j.event_state = 'parked') AS parked,
				pg_catalog.count(*) FILTER (WHERE j.retrying) AS retrying,
				pg_catalog.count(*) AS unfinished, COALESCE(pg_catalog.max(j.n), 0) AS last
			FROM job AS j
		)
		SELECT c.unfinished - c.running - c.parked - c.retrying, c.running, c.parked, c.retrying, c.last,
			(SELECT pg_catalog.count(*) FROM iu_outbox.event AS e WHERE `+ofPrefix("e.instance_key_suffix")+`),
			(SELECT pg_catalog.count(*) FROM iu_outbox.dead_letter AS d WHERE `+ofPrefix("(d.event ->> 'instance_key_suffix')")+`),
			EXISTS (SELECT FROM iu_river.river_queue AS r WHERE r.name = $2 AND r.paused_at IS NOT NULL)
		FROM counted AS c`, prefix, jobs.QueueScaleout).
		Scan(&l.Waiting, &l.Running, &l.Parked, &l.Retrying, &l.last, &l.Outbox, &l.DeadLetters, &l.QueuePaused)
	if err != nil {
		return l, fmt.Errorf("count what is left of the scale-out %q: %w", prefix, err)
	}
	return l, nil
}

const (
	composedBatch = 5000 // numbers that one statement counts
	composedGap   = 4    // after so many batches without an instance, the count ends
)

// Read returns the progress of a scale-out as of one moment. It finds instances by the events' ids, which are derived from the
// prefix. That takes a second for some hundred thousand.
func Read(ctx context.Context, db operate.Beginner, prefix string) (state Status, err error) {
	tx, err := db.BeginTx(ctx, operate.Snapshot)
	if err != nil {
		return state, fmt.Errorf("read the scale-out %q: %w", prefix, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only read
	state.Prefix = prefix
	if state.Left, err = ReadLeft(ctx, tx, prefix); err != nil {
		return state, err
	}
	empty := 0
	for first := 1; first <= Max && (empty < composedGap || first <= state.last); first += composedBatch {
		n, err := composedOf(ctx, tx, prefix, first)
		if err != nil {
			return state, fmt.Errorf("count what was composed of the scale-out %q: %w", prefix, err)
		}
		state.Composed += n
		if empty++; n > 0 {
			empty = 0
		}
	}
	if state.Composed == 0 && state.Unfinished() == 0 && state.DeadLetters == 0 {
		return state, fmt.Errorf("%w: %q; no job, instance or dead letter has this prefix", ErrNotFound, prefix)
	}
	return state, nil
}

func composedOf(ctx context.Context, q operate.Querier, prefix string, first int) (n int64, err error) {
	ids := make([]string, composedBatch) // texts pass in every mode of the protocol
	for i := range ids {
		ids[i] = eventID(prefix, first+i).String()
	}
	err = q.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM public.iu_auto_instantiate_event_log AS l
		WHERE l.event_id = ANY ($1::text[]::uuid[])`, ids).Scan(&n)
	return n, err
}

// eventID returns the event id of a number.
func eventID(prefix string, number int) uuid.UUID {
	return uuid.NewSHA1(eventSpace, fmt.Appendf(nil, "%s-%d", prefix, number))
}
