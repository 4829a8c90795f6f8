package scaleout

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
)

// Cancel cancels the jobs of a scale-out that have not begun, and drops the dead letters that this makes: what somebody took
// back needs no attention, and the same scale-out again adds it again. If they are more than most, it returns a
// operate.NotAsSeenError.
func Cancel(ctx context.Context, o operate.Operator, prefix string, most int64) (done operate.Cancelled, err error) {
	done.Prefix = prefix
	done.Cancelled, err = o.CancelJobs(ctx, "scaleout.cancel", prefix, most, jobsOf, func(tx pgx.Tx, n int) (any, error) {
		return map[string]any{"prefix": prefix, "count": n}, noteCancelled(ctx, tx, prefix, n)
	})
	if err != nil {
		return done, err
	}
	if err := noteFinished(ctx, o.Pool, prefix); err != nil {
		return done, err
	}
	left, err := ReadLeft(ctx, o.Pool, prefix)
	done.Left = left.Unfinished()
	return done, err
}

// CountCancellable returns how many jobs Cancel would cancel now. ErrNotFound if nothing is known of the prefix.
func CountCancellable(ctx context.Context, pool *pgxpool.Pool, prefix string) (int64, error) {
	ids, err := jobsOf(ctx, pool, prefix)
	if err == nil && len(ids) == 0 {
		_, err = Read(ctx, pool, prefix)
	}
	return int64(len(ids)), err
}

// jobsOf returns the jobs of a scale-out that have not begun, lowest id first. A suffix that looks like a number of
// it may be another event's: the event id tells.
func jobsOf(ctx context.Context, q operate.Querier, prefix string) (ids []int64, err error) {
	rows, err := q.Query(ctx, `
		SELECT j.id, j.event ->> 'event_id', pg_catalog.substr(j.event ->> 'instance_key_suffix', pg_catalog.length($1::text) + 2)::integer
		FROM iu_outbox.job AS j
		WHERE j.cancellable AND `+ofPrefix("(j.event ->> 'instance_key_suffix')")+`
		ORDER BY j.id`, prefix)
	if err != nil {
		return nil, fmt.Errorf("look for jobs of the scale-out %q: %w", prefix, err)
	}
	var id int64
	var event *string
	var number int
	_, err = pgx.ForEachRow(rows, []any{&id, &event, &number}, func() error {
		if event != nil && *event == eventID(prefix, number).String() {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for jobs of the scale-out %q: %w", prefix, err)
	}
	return ids, nil
}
