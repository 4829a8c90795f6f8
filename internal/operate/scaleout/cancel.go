package scaleout

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
)

// Cancel cancels the jobs of a scale-out that have not begun, and drops the dead letters that this makes. If the scale-out is started
// again, it adds these jobs again. If there are more than most, Cancel returns an operate.NotAsSeenError.
func Cancel(ctx context.Context, o operate.Operator, prefix string, most int64) (done operate.Cancelled, err error) {
	done.Prefix = prefix
	done.Cancelled, err = o.CancelJobs(ctx, "scaleout.cancel", prefix, most, jobsOf, func(tx pgx.Tx, n int) (any, error) {
		return map[string]any{"prefix": prefix, "count": n}, note(ctx, tx, prefix, cancelledSQL, n)
	})
	if err != nil {
		return done, err
	}
	if err := note(ctx, o.Pool, prefix, finishedSQL); err != nil {
		return done, err
	}
	left, err := ReadLeft(ctx, o.Pool, prefix)
	done.Left = left.Unfinished()
	return done, err
}

// CountCancellable returns how many jobs Cancel would cancel now. It returns ErrNotFound if nothing is known of the prefix.
func CountCancellable(ctx context.Context, pool *pgxpool.Pool, prefix string) (int64, error) {
	ids, err := jobsOf(ctx, pool, prefix)
	if err == nil && len(ids) == 0 {
		_, err = Read(ctx, pool, prefix)
	}
	return int64(len(ids)), err
}

// jobsOf returns the ids of the jobs of a scale-out that have not begun, lowest first. Another event may have a suffix of
// the same form, but has another event id.
func jobsOf(ctx context.Context, q operate.Querier, prefix string) (ids []int64, err error) {
	type job struct {
		id     int64
		event  *string
		number int
	}
	found, err := operate.Collect(ctx, q, func(row pgx.CollectableRow) (j job, err error) {
		err = row.Scan(&j.id, &j.event, &j.number)
		return j, err
	}, `
		SELECT j.id, j.event ->> 'event_id', pg_catalog.substr(j.event ->> 'instance_key_suffix', pg_catalog.length($1::text) + 2)::integer
		FROM iu_outbox.job AS j
		WHERE j.cancellable AND `+ofPrefix("(j.event ->> 'instance_key_suffix')")+`
		ORDER BY j.id`, prefix)
	if err != nil {
		return nil, fmt.Errorf("list the jobs of the scale-out %q: %w", prefix, err)
	}
	for _, j := range found {
		if j.event != nil && *j.event == eventID(prefix, j.number).String() {
			ids = append(ids, j.id)
		}
	}
	return ids, nil
}
