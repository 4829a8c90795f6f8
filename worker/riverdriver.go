package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// workDriver is River's pgx driver for the client that works. It opens no connection to listen: River hears what riverControl
// tells it.
type workDriver struct {
	*riverpgxv5.Driver

	control  *riverControl
	executor workExecutor
}

func newWorkDriver(pool *pgxpool.Pool, control *riverControl, now *clock, ended func(jobID int64) bool, logger *slog.Logger) *workDriver {
	d := riverpgxv5.New(pool)
	return &workDriver{Driver: d, control: control, executor: workExecutor{
		Executor: lockWary{Executor: d.GetExecutor(), logger: logger}, clock: now, ended: ended,
	}}
}

func (d *workDriver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return d.control
}

func (d *workDriver) GetExecutor() riverdriver.Executor { return d.executor }

// workExecutor puts the server's times in place of this machine's, and does not write how jobs ended that are completed, or no
// longer this process's.
type workExecutor struct {
	riverdriver.Executor

	clock *clock
	ended func(jobID int64) bool
}

// JobDeleteBefore implements riverdriver.Executor.
func (e workExecutor) JobDeleteBefore(ctx context.Context, params *riverdriver.JobDeleteBeforeParams) (int, error) {
	p := *params
	for _, horizon := range []*time.Time{&p.CancelledFinalizedAtHorizon, &p.CompletedFinalizedAtHorizon, &p.DiscardedFinalizedAtHorizon} {
		*horizon = e.byServer(*horizon)
	}
	return e.Executor.JobDeleteBefore(ctx, &p)
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

// JobSetStateIfRunningMany implements riverdriver.Executor.
func (e workExecutor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	params = without(params, e.ended)
	if len(params.ID) == 0 {
		return nil, nil
	}
	return e.Executor.JobSetStateIfRunningMany(ctx, params)
}

// without returns params without the jobs for which leave returns true.
func without(params *riverdriver.JobSetStateIfRunningManyParams, leave func(jobID int64) bool) *riverdriver.JobSetStateIfRunningManyParams {
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
