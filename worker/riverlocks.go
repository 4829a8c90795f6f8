package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// lockWary is a River executor whose statements over many jobs wait for nobody's lock on some of them for long: a
// transaction of somebody else that holds a few job rows must not keep all others from being completed, scheduled or
// cleaned up. Jobs that it leaves running in the table are given back by Rescuer, and then found composed.
type lockWary struct {
	riverdriver.Executor

	logger *slog.Logger
}

// warily runs do in a transaction that waits for locks only briefly, and reports whether that was too short.
func (e lockWary) warily(ctx context.Context, do func(riverdriver.ExecutorTx) error) (locked bool, err error) {
	tx, err := e.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(ctx) // after a commit there is nothing to roll back
	}()
	if err := tx.Exec(ctx, "SET LOCAL lock_timeout = '250ms'"); err != nil {
		return false, fmt.Errorf("set a timeout: %w", err)
	}
	if err := do(tx); err != nil {
		return isCode(err, pgerrcode.LockNotAvailable), err
	}
	return false, tx.Commit(ctx)
}

// JobSetStateIfRunningMany implements riverdriver.Executor.
func (e lockWary) JobSetStateIfRunningMany(
	ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams,
) (rows []*rivertype.JobRow, err error) {
	locked, err := e.warily(ctx, func(tx riverdriver.ExecutorTx) error {
		rows, err = tx.JobSetStateIfRunningMany(ctx, params)
		return err
	})
	if !locked {
		return rows, err
	}
	var left int
	_, err = e.warily(ctx, func(tx riverdriver.ExecutorTx) error {
		var free []int64
		err := tx.QueryRow(ctx, "SELECT iu_outbox.lock_jobs($1)", params.ID).Scan(&free)
		if err != nil {
			return fmt.Errorf("look for jobs that are not locked: %w", err)
		}
		left = len(params.ID) - len(free)
		if len(free) == 0 {
			return nil
		}
		rows, err = tx.JobSetStateIfRunningMany(ctx, without(params, func(id int64) bool { return !slices.Contains(free, id) }))
		return err
	})
	if err == nil && left > 0 {
		e.logger.WarnContext(ctx, "Jobs: another transaction has locked jobs that ended; they are completed later", slog.Int("jobs", left))
	}
	return rows, err
}

// JobSchedule implements riverdriver.Executor. What River's own statement would wait for is left for a later round.
func (e lockWary) JobSchedule(ctx context.Context, params *riverdriver.JobScheduleParams) (results []*riverdriver.JobScheduleResult, err error) {
	locked, err := e.warily(ctx, func(tx riverdriver.ExecutorTx) error {
		results, err = tx.JobSchedule(ctx, params)
		return err
	})
	if !locked {
		return results, err
	}
	var n int
	if err := e.QueryRow(ctx, "SELECT iu_outbox.schedule_jobs($1)", params.Max).Scan(&n); err != nil {
		return nil, fmt.Errorf("schedule jobs that are not locked: %w", err)
	}
	return nil, nil // the function has told the producers
}

// JobDeleteBefore implements riverdriver.Executor. Jobs that ended wait for the lock's end.
func (e lockWary) JobDeleteBefore(ctx context.Context, params *riverdriver.JobDeleteBeforeParams) (n int, err error) {
	locked, err := e.warily(ctx, func(tx riverdriver.ExecutorTx) error {
		n, err = tx.JobDeleteBefore(ctx, params)
		return err
	})
	if locked {
		return 0, nil
	}
	return n, err
}
