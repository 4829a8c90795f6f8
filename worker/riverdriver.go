package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/internal/compose"
)

// workDriver is River's pgx driver for the client that works. It opens no connection to listen: River hears what riverControl
// tells it.
type workDriver struct {
	*riverpgxv5.Driver

	control  *riverControl
	executor workExecutor
}

func newWorkDriver(
	pool *pgxpool.Pool, control *riverControl, now *clock, work *compose.Worker, backlogs map[string]*backlog, logger *slog.Logger,
) *workDriver {
	d := riverpgxv5.New(pool)
	return &workDriver{Driver: d, control: control, executor: workExecutor{
		Executor: d.GetExecutor(), driver: d, pool: pool, clock: now, work: work, backlogs: backlogs, failed: control.fetch.calm.putOff,
		logger: logger,
	}}
}

func (d *workDriver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return d.control
}

func (d *workDriver) GetExecutor() riverdriver.Executor { return d.executor }

// workExecutor puts the server's times in place of this machine's, and does not write the ends of jobs that are completed, or no
// longer this process's. Its statements over many jobs wait only briefly for a lock: another transaction that holds a few job rows must not
// keep all others from being completed, scheduled or deleted. The rescuer releases jobs that stay running in the table, and
// their next run finds them composed.
type workExecutor struct {
	riverdriver.Executor

	driver   *riverpgxv5.Driver
	pool     *pgxpool.Pool
	clock    *clock
	work     *compose.Worker
	backlogs map[string]*backlog // by queue
	failed   func()              // called after a fetch that failed: the ring that it was for is used up
	logger   *slog.Logger
}

// JobGetAvailable implements riverdriver.Executor. It fetches none of a queue whose backlog is being composed.
func (e workExecutor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	backlog := e.backlogs[params.Queue]
	if backlog.active.Load() {
		return &riverdriver.JobGetAvailableResult{}, nil
	}
	result, err := e.Executor.JobGetAvailable(ctx, params)
	if err != nil {
		e.failed()
	} else if len(result.Jobs) == params.MaxToLock {
		backlog.full.Ring()
	}
	return result, err
}

// JobDeleteBefore implements riverdriver.Executor. Jobs that are locked are deleted by a later round.
func (e workExecutor) JobDeleteBefore(ctx context.Context, params *riverdriver.JobDeleteBeforeParams) (n int, err error) {
	p := *params
	for _, horizon := range []*time.Time{&p.CancelledFinalizedAtHorizon, &p.CompletedFinalizedAtHorizon, &p.DiscardedFinalizedAtHorizon} {
		*horizon = e.byServer(*horizon)
	}
	locked, err := e.briefly(ctx, func(tx riverdriver.ExecutorTx) error {
		n, err = tx.JobDeleteBefore(ctx, &p)
		return err
	})
	if locked {
		return 0, nil
	}
	return n, err
}

// QueueDeleteExpired implements riverdriver.Executor.
func (e workExecutor) QueueDeleteExpired(ctx context.Context, params *riverdriver.QueueDeleteExpiredParams) ([]string, error) {
	p := *params
	p.UpdatedAtHorizon = e.byServer(p.UpdatedAtHorizon)
	return e.Executor.QueueDeleteExpired(ctx, &p)
}

func (e workExecutor) byServer(t time.Time) time.Time {
	return t.Add(time.Duration(e.clock.ahead.Load()))
}

// beginBriefly begins, in one round trip, a transaction that waits for locks only briefly.
var beginBriefly = pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL lock_timeout = 250"}

// Begin implements riverdriver.Executor.
func (e workExecutor) Begin(ctx context.Context) (riverdriver.ExecutorTx, error) {
	tx, err := e.pool.BeginTx(ctx, beginBriefly)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &workTx{ExecutorTx: e.driver.UnwrapExecutor(tx), pool: e.pool}, nil
}

// briefly runs do in a transaction that waits for locks only briefly, and reports whether that was too short.
func (e workExecutor) briefly(ctx context.Context, do func(riverdriver.ExecutorTx) error) (locked bool, err error) {
	tx, err := e.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(ctx) // after a commit there is nothing to roll back
	}()
	if err := do(tx); err != nil {
		return isCode(err, pgerrcode.LockNotAvailable), err
	}
	return false, tx.Commit(ctx)
}

// JobSetStateIfRunningMany implements riverdriver.Executor.
func (e workExecutor) JobSetStateIfRunningMany(
	ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams,
) (rows []*rivertype.JobRow, err error) {
	if kept := without(params, e.work.Ended); len(kept.ID) > 0 {
		rows, err = e.setState(ctx, kept)
	}
	if err == nil { // else River tries it again with the same jobs
		e.work.Forget(params.ID)
	}
	return rows, err
}

func (e workExecutor) setState(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) (rows []*rivertype.JobRow, err error) {
	locked, err := e.briefly(ctx, func(tx riverdriver.ExecutorTx) error {
		rows, err = tx.JobSetStateIfRunningMany(ctx, params)
		return err
	})
	if !locked {
		return rows, err
	}
	var left int
	_, err = e.briefly(ctx, func(tx riverdriver.ExecutorTx) error {
		var free []int64
		err := tx.QueryRow(ctx, "SELECT iu_outbox.lock_jobs($1)", params.ID).Scan(&free)
		if err != nil {
			return fmt.Errorf("lock the jobs that are free: %w", err)
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

// workTx is a transaction of workExecutor.
type workTx struct {
	riverdriver.ExecutorTx

	pool *pgxpool.Pool
	over bool // it was rolled back, and another transaction has done its work
}

// JobSchedule implements riverdriver.Executor. It leaves jobs that are locked to a later round.
func (t *workTx) JobSchedule(ctx context.Context, params *riverdriver.JobScheduleParams) ([]*riverdriver.JobScheduleResult, error) {
	results, err := t.ExecutorTx.JobSchedule(ctx, params)
	if !isCode(err, pgerrcode.LockNotAvailable) {
		return results, err
	}
	if err := t.Rollback(ctx); err != nil {
		return nil, err
	}
	t.over = true
	var n int
	if err := t.pool.QueryRow(ctx, "SELECT iu_outbox.schedule_jobs($1)", params.Max).Scan(&n); err != nil {
		return nil, fmt.Errorf("schedule jobs that are not locked: %w", err)
	}
	return nil, nil // the function has notified the producers
}

// Commit implements riverdriver.ExecutorTx.
func (t *workTx) Commit(ctx context.Context) error {
	if t.over {
		return nil
	}
	return t.ExecutorTx.Commit(ctx)
}

// without returns params without the jobs for which leave returns true.
func without(params *riverdriver.JobSetStateIfRunningManyParams, leave func(jobID int64) bool) *riverdriver.JobSetStateIfRunningManyParams {
	if !slices.ContainsFunc(params.ID, leave) {
		return params
	}
	kept := &riverdriver.JobSetStateIfRunningManyParams{Now: params.Now, Schema: params.Schema}
	for i, id := range params.ID {
		if leave(id) {
			continue
		}
		kept.ID = append(kept.ID, id)
		kept.Attempt = append(kept.Attempt, params.Attempt[i])
		kept.ErrData = append(kept.ErrData, params.ErrData[i])
		kept.FinalizedAt = append(kept.FinalizedAt, params.FinalizedAt[i])
		kept.MetadataDoMerge = append(kept.MetadataDoMerge, params.MetadataDoMerge[i])
		kept.MetadataUpdates = append(kept.MetadataUpdates, params.MetadataUpdates[i])
		kept.ScheduledAt = append(kept.ScheduledAt, params.ScheduledAt[i])
		kept.State = append(kept.State, params.State[i])
	}
	return kept
}

// insertDriver is River's pgx driver for the client that only inserts. It sends no notification: claim() does. River's own costs a
// round trip, and is dropped if it follows another one within FetchCooldown, so that a job may wait for the next poll.
type insertDriver struct{ *riverpgxv5.Driver }

func newInsertDriver(pool *pgxpool.Pool) insertDriver { return insertDriver{riverpgxv5.New(pool)} }

func (insertDriver) SupportsListenNotify() bool { return false }

func (d insertDriver) UnwrapExecutor(tx pgx.Tx) riverdriver.ExecutorTx {
	return insertExecutor{d.Driver.UnwrapExecutor(tx)}
}

// insertExecutor leaves to the server the times for which the driver would take this machine's.
type insertExecutor struct{ riverdriver.ExecutorTx }

// JobInsertFastMany implements riverdriver.Executor.
func (e insertExecutor) JobInsertFastMany(ctx context.Context, params *riverdriver.JobInsertFastManyParams) ([]*riverdriver.JobInsertFastResult, error) {
	for _, job := range params.Jobs {
		if job.CreatedAt == nil {
			job.CreatedAt = &time.Time{} // the statement takes now() for it
		}
		if job.ScheduledAt == nil {
			job.ScheduledAt = &time.Time{}
		}
	}
	return e.ExecutorTx.JobInsertFastMany(ctx, params)
}
