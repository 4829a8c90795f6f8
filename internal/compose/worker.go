package compose

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// Timeout bounds one run of a job. A call takes about a millisecond; one that takes longer waits for a lock.
const Timeout = 30 * time.Second

// Worker works the jobs of kind auto_instantiate. It is safe for concurrent use.
type Worker struct {
	river.WorkerDefaults[jobs.AutoInstantiateArgs]

	cfg       WorkerConfig
	active    sync.Map // job id -> struct{}
	fenced    sync.Map // the same, of jobs that run elsewhere by now
	completed sync.Map // the same, of jobs that are completed
}

// WorkerConfig configures a Worker. All fields are required.
type WorkerConfig struct {
	Events, Scaleouts *Batcher // of the two queues

	Hold    *Hold // holds jobs back while the installation is at fault
	Observe func(Outcome)
	Tracer  trace.Tracer
	Now     func() time.Time // the server's time, by which retries are set
}

// Outcome is how one run of a job ended, for logs and metrics.
type Outcome struct {
	Args   jobs.AutoInstantiateArgs
	JobID  int64
	Queue  string
	Result Result // Status is empty if Err is set
	Err    error
	Ending Ending
	Took   time.Duration
	Waited time.Duration     // since the event could be composed, by the server's clock
	Trace  trace.SpanContext // of the run, or else the application's; may be invalid
}

// Ending is what happens to a job after a run.
type Ending string

// The endings. An interrupted job was cut off by a stop of the worker, or cancelled by an operator while it ran.
const (
	EndingCompleted   Ending = "completed"
	EndingParked      Ending = "parked" // by a closed gate, or by a fault of the installation: Err says which
	EndingRetried     Ending = "retried"
	EndingCancelled   Ending = "cancelled"
	EndingDiscarded   Ending = "discarded"
	EndingInterrupted Ending = "interrupted"
)

// NewWorker returns a Worker for one River client.
func NewWorker(cfg WorkerConfig) *Worker { return &Worker{cfg: cfg} }

// Timeout implements river.Worker.
func (*Worker) Timeout(*river.Job[jobs.AutoInstantiateArgs]) time.Duration { return Timeout }

// NextRetry implements river.Worker: the wait after an error that will not pass by itself.
func (w *Worker) NextRetry(job *river.Job[jobs.AutoInstantiateArgs]) time.Time {
	return w.cfg.Now().Add(retry.Work.Wait(job.Attempt + 3))
}

// Active reports whether this process is working the job now.
func (w *Worker) Active(jobID int64) bool {
	_, ok := w.active.Load(jobID)
	return ok
}

// ActiveJobs returns the ids of the jobs that this process is working now.
func (w *Worker) ActiveJobs() []int64 {
	var ids []int64
	w.active.Range(func(id, _ any) bool {
		ids = append(ids, id.(int64)) //nolint:forcetypeassert // Work puts nothing else in
		return true
	})
	return ids
}

// Ended reports whether River must not write how the run of a job ended: the job was given to another process while this one ran
// it, or was completed by the transaction that composed its instance.
func (w *Worker) Ended(jobID int64) bool {
	_, fenced := w.fenced.Load(jobID)
	_, completed := w.completed.Load(jobID)
	return fenced || completed
}

// Forget says that River asks no more about the runs of these jobs that ended.
func (w *Worker) Forget(jobIDs []int64) {
	for _, id := range jobIDs {
		w.completed.Delete(id)
	}
}

// Work implements river.Worker; the table of outcomes is in the package's documentation.
func (w *Worker) Work(ctx context.Context, job *river.Job[jobs.AutoInstantiateArgs]) error {
	w.fenced.Delete(job.ID)
	w.completed.Delete(job.ID)
	w.active.Store(job.ID, struct{}{})
	defer w.active.Delete(job.ID)

	start := time.Now()
	ctx, span := w.startRun(ctx, job.Args, job.Queue)
	result, err := w.compose(ctx, job)
	took := time.Since(start)
	switch {
	case result.Completed:
		w.completed.Store(job.ID, struct{}{})
	case errors.Is(err, ErrFenced):
		w.fenced.Store(job.ID, struct{}{})
	}
	concluded := w.conclude(ctx, job, result, err)
	outcome := Outcome{
		Args: job.Args, JobID: job.ID, Queue: job.Queue, Result: result, Err: err, Ending: ending(job, concluded), Took: took,
		Waited: w.cfg.Now().Sub(job.Args.Due()), Trace: span.SpanContext(),
	}
	endSpan(span, outcome)
	w.cfg.Observe(outcome)
	return concluded
}

func (w *Worker) batcher(queue string) *Batcher {
	if queue == jobs.QueueScaleout {
		return w.cfg.Scaleouts
	}
	return w.cfg.Events
}

// startRun starts the span of a job's run.
func (w *Worker) startRun(ctx context.Context, args jobs.AutoInstantiateArgs, queue string) (context.Context, trace.Span) {
	return w.cfg.Tracer.Start(Traced(ctx, args), jobs.Kind, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("iuworker.queue", queue)), trace.WithAttributes(Attributes(args)...))
}

// heldError is the error of a job that was not tried because of a fault.
type heldError struct{ fault Fault }

func (e heldError) Error() string { return e.fault.String() }

// compose composes the instance, unless the job's key is not its event's, or a fault is known by which that would fail. A job with
// a wrong key would block other events, or let its event through twice.
func (w *Worker) compose(ctx context.Context, job *river.Job[jobs.AutoInstantiateArgs]) (Result, error) {
	if err := job.Args.CheckKey(); err != nil {
		return Result{Status: jobs.StatusInvalidInput, Detail: err.Error()}, nil //nolint:nilerr // it is the result
	}
	if job.Args.CreatedAt.IsZero() { // inserted by an application; the metrics count from there
		job.Args.CreatedAt = job.CreatedAt
	}
	if fault := w.cfg.Hold.try(); fault != nil {
		return Result{}, heldError{*fault}
	}
	event := Event{AutoInstantiateArgs: job.Args, JobID: job.ID, Attempt: job.Attempt}
	batcher := w.batcher(job.Queue)
	switch before := readRetryMark(job.JobRow); {
	case before.Alone:
		return batcher.composeAlone(ctx, event)
	case before.Count > 0, len(job.Errors) > 0, readHeldMark(job.JobRow).Times > 0:
		return batcher.ComposeAgain(ctx, event)
	}
	return batcher.Compose(ctx, event)
}

// conclude turns the result of composing, or its error, into what Work returns to River.
func (w *Worker) conclude(ctx context.Context, job *river.Job[jobs.AutoInstantiateArgs], result Result, err error) error {
	if err != nil {
		return w.failed(ctx, job, err)
	}
	if result.Status == jobs.StatusInstantiated { // other statuses write nothing, and so prove nothing
		w.cfg.Hold.Over()
	}
	if result.Completed {
		return nil
	}
	if err := river.RecordOutput(ctx, result); err != nil {
		return fmt.Errorf("record the job's output: %w", err)
	}
	return byStatus(ctx, result)
}

// ending returns what River does with what Work returns.
func ending(job *river.Job[jobs.AutoInstantiateArgs], concluded error) Ending {
	var snooze *rivertype.JobSnoozeError
	var cancel *rivertype.JobCancelError
	switch {
	case concluded == nil:
		return EndingCompleted
	case errors.Is(concluded, ErrFenced):
		return EndingInterrupted
	case errors.As(concluded, &snooze):
		if snooze.Duration >= ParkFor {
			return EndingParked
		}
		return EndingRetried
	case errors.As(concluded, &cancel):
		return EndingCancelled
	case errors.Is(concluded, context.Canceled):
		return EndingInterrupted
	case job.Attempt >= job.MaxAttempts:
		return EndingDiscarded
	default:
		return EndingRetried
	}
}

// byStatus returns what Work returns for a status.
func byStatus(ctx context.Context, result Result) error {
	if gate, closed := closedGate(result.Status); closed {
		return park(ctx, gate, result.Status)
	}
	switch result.Status {
	case jobs.StatusInstantiated, jobs.StatusIdempotentReplay:
		return nil
	case jobs.StatusInvalidInput, jobs.StatusTemplateNotFound, jobs.StatusTemplateNotMarked, jobs.StatusTemplateEmpty,
		jobs.StatusInstanceKeyConflict:
		return river.JobCancel(&RefusedError{Status: result.Status, Detail: result.Detail})
	default:
		return fmt.Errorf("fn_iu_auto_instantiate_from_event returned the unknown status %q", result.Status)
	}
}

// failed returns what Work returns for an error: it differs for faults of the installation, errors that may pass, and others.
func (w *Worker) failed(ctx context.Context, job *river.Job[jobs.AutoInstantiateArgs], err error) error {
	if errors.Is(err, ErrFenced) {
		return errors.Join(ErrFenced, river.JobSnooze(0)) // River writes nothing down: see Ended
	}
	if held, ok := errors.AsType[heldError](err); ok {
		return hold(ctx, readHeldMark(job.JobRow), held.fault)
	}
	if errors.Is(err, context.Canceled) {
		return err // the client stops, or the job was cancelled: River knows which
	}
	held := readHeldMark(job.JobRow)
	if fault, ok := FaultOf(err); ok && held.Times < maxHolds {
		_, own := errors.AsType[ownError](err)
		if !own {
			w.cfg.Hold.met(fault)
		}
		if own || held.Resumed {
			held = heldMark{Times: held.Times + 1}
		}
		return hold(ctx, held, fault)
	}
	if MayPass(err) {
		return retryLater(ctx, job.JobRow, err)
	}
	return errors.Join(err, recordError(ctx, err))
}

func recordError(ctx context.Context, cause error) error {
	if err := river.RecordOutput(ctx, Result{Status: jobs.StatusError, Detail: cause.Error()}); err != nil {
		return fmt.Errorf("record the job's output: %w", err)
	}
	return nil
}
