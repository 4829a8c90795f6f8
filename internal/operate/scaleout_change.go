package operate

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/jobs"
)

// PauseScaleouts pauses the queue of all scale-outs, or lets it go on, with an audit line. Jobs that run end.
func PauseScaleouts(ctx context.Context, pool *pgxpool.Pool, actor string, pause bool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := PauseQueue(ctx, tx, jobs.QueueScaleout, pause); err != nil {
			return err
		}
		_, err := RecordAudit(ctx, tx, actor, QueueAction(pause), map[string]any{"queue": jobs.QueueScaleout})
		return err
	})
}

// CancelledScaleout says what CancelScaleout did.
type CancelledScaleout struct {
	Prefix    string `json:"prefix"`
	Cancelled int    `json:"cancelled"`
	Left      int64  `json:"left"` // had begun, or had been put back into the outbox
}

const cancelBatch = 1000 // jobs that one transaction cancels

// CancelScaleout cancels the jobs of a scale-out that have not begun, and drops the dead letters that this makes: what
// somebody took back needs nobody's care, and the same scale-out again adds it again. Each transaction, of up to a
// thousand jobs, leaves an audit line. What it returns says how far it came, also if it fails.
func CancelScaleout(ctx context.Context, pool *pgxpool.Pool, actor, prefix string) (CancelledScaleout, error) {
	done := CancelledScaleout{Prefix: prefix}
	for before := -1; before < done.Cancelled; { // again for those that came meanwhile, or waited for their next try
		before = done.Cancelled
		ids, err := scaleoutJobs(ctx, pool, prefix)
		if err != nil {
			return done, fmt.Errorf("look for jobs of the scale-out %q: %w", prefix, err)
		}
		for batch := range slices.Chunk(ids, cancelBatch) {
			n, err := cancelJobs(ctx, pool, actor, "scaleout.cancel", map[string]any{"prefix": prefix}, batch)
			if err != nil {
				return done, fmt.Errorf("cancel the scale-out %q: %w", prefix, err)
			}
			done.Cancelled += n
		}
	}
	if err := noteFinished(ctx, pool, prefix); err != nil {
		return done, err
	}
	left, err := ReadScaleoutLeft(ctx, pool, prefix)
	done.Left = left.Unfinished()
	return done, err
}

// CountCancellable returns how many jobs CancelScaleout would cancel now. ErrNoScaleout if nothing is known of the prefix.
func CountCancellable(ctx context.Context, pool *pgxpool.Pool, prefix string) (int, error) {
	ids, err := scaleoutJobs(ctx, pool, prefix)
	if err != nil {
		return 0, fmt.Errorf("look for jobs of the scale-out %q: %w", prefix, err)
	}
	if len(ids) == 0 {
		_, err = ReadScaleout(ctx, pool, prefix)
	}
	return len(ids), err
}

// scaleoutJobs returns the jobs of a scale-out that have not begun, lowest id first. A suffix that looks like a number of
// it may be another event's: the event id tells.
func scaleoutJobs(ctx context.Context, q Querier, prefix string) (ids []int64, err error) {
	rows, err := q.Query(ctx, `
		SELECT j.id, j.event ->> 'event_id', pg_catalog.substr(j.event ->> 'instance_key_suffix', pg_catalog.length($1::text) + 2)::integer
		FROM iu_outbox.job AS j
		WHERE j.cancellable AND `+ofPrefix("(j.event ->> 'instance_key_suffix')")+`
		ORDER BY j.id`, prefix)
	if err != nil {
		return nil, err
	}
	var id int64
	var event *string
	var number int
	_, err = pgx.ForEachRow(rows, []any{&id, &event, &number}, func() error {
		if event != nil && *event == scaleoutEvent(prefix, number).String() {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// cancelJobs cancels jobs in one transaction with an audit line, to whose detail it adds the count.
func cancelJobs(ctx context.Context, pool *pgxpool.Pool, actor, action string, detail map[string]any, ids []int64) (n int, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if n, err = CancelJobs(ctx, tx, ids); err != nil || n == 0 {
			return err
		}
		if prefix, ok := detail["prefix"].(string); ok {
			if err := noteCancelled(ctx, tx, prefix, n); err != nil {
				return err
			}
		}
		detail = maps.Clone(detail)
		detail["count"] = n
		_, err := RecordAudit(ctx, tx, actor, action, detail)
		return err
	})
	return n, err
}
