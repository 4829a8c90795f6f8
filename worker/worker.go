package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/jobs"
	iusql "github.com/iu-core/iuworker/sql"
)

// Worker runs the relay, the jobs, the emitter and the parts that look after them in one process. Its methods are safe for
// concurrent use. A Worker is started once.
type Worker struct {
	cfg    Config
	logger *slog.Logger

	mu      sync.Mutex
	started bool
	running *running // nil before Start and after Stop
	stopErr error
	stopped chan struct{}
	failed  chan error
}

// New returns a Worker that is not started. It checks the configuration and does not connect.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, logger: cfg.Logger, stopped: make(chan struct{}), failed: make(chan error, 1)}, nil
}

// Failed returns a channel that receives an error if a started worker cannot go on because another process has its ID. Stop the
// worker then.
func (w *Worker) Failed() <-chan error { return w.failed }

func (w *Worker) fail(err error) {
	select {
	case w.failed <- err:
	default: // there is an error in it already
	}
}

// ErrNotReady is wrapped by the errors of Ready.
var ErrNotReady = errors.New("not ready")

// notReady is why a worker is not ready. Its text is the cause alone.
type notReady struct{ cause error }

func (e notReady) Error() string        { return e.cause.Error() }
func (e notReady) Unwrap() error        { return e.cause }
func (e notReady) Is(target error) bool { return target == ErrNotReady }

// Ready returns nil if the worker can work: it is started, the database is reachable and writable, the schema fits, the listener
// is connected or the worker polls by choice, and no fault of the installation is known. Otherwise Ready returns the first cause:
// without a database, there is no listener either.
func (w *Worker) Ready(ctx context.Context) error {
	w.mu.Lock()
	running := w.running
	w.mu.Unlock()
	if running == nil {
		return notReady{errors.New("the worker is not running")}
	}
	if err := iusql.CheckSchema(ctx, w.cfg.Pool); err != nil {
		return notReady{err}
	}
	if err := w.writable(ctx, running.session); err != nil {
		return notReady{err}
	}
	if running.listener != nil && !running.listener.Up() {
		return notReady{errors.New("the listener is not connected")}
	}
	if fault := running.fault(); fault != "" {
		return notReady{errors.New(fault)}
	}
	return nil
}

// writable returns an error unless the pool and the session, which may be connected to different servers, can write.
func (w *Worker) writable(ctx context.Context, session *session) error {
	var writable bool
	if err := w.cfg.Pool.QueryRow(ctx, dbsession.Writable).Scan(&writable); err != nil {
		return fmt.Errorf("ask whether the database can be written: %w", err)
	}
	if !writable {
		return errReadOnly
	}
	if session != nil {
		return session.alive(ctx)
	}
	return nil
}

// Start checks the schema and starts all parts. They run until Stop; ctx bounds the start alone. If Start fails, nothing runs.
func (w *Worker) Start(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return errors.New("worker: started before")
	}
	if err := iusql.CheckSchema(ctx, w.cfg.Pool); err != nil {
		return err
	}
	sessions, err := listen.Works(ctx, w.cfg.Pool, w.cfg.Direct)
	if err != nil {
		return err
	}
	if !sessions {
		w.logger.WarnContext(ctx, "Worker: notifications do not come through this address (a transaction pooler?); "+
			"polling instead; give --direct-database-url for doorbells",
			slog.Duration("poll_interval", w.cfg.PollInterval))
	}
	running, err := w.run(ctx, sessions)
	if err != nil {
		return err
	}
	w.started, w.running = true, running
	return nil
}

// report counts how a run of a job ended, and logs it: as a warning if an operator may have to act. The relay and the emitter
// log the batches that went well.
func (w *Worker) report(o compose.Outcome) {
	w.cfg.metrics.Ran(o)
	level := slog.LevelDebug
	if o.Err != nil && o.Ending != compose.EndingParked || o.Ending == compose.EndingCancelled { // Hold logs a fault once
		level = slog.LevelWarn
	}
	status := o.Result.Status
	if o.Err != nil {
		status = jobs.StatusError
	}
	attrs := []any{
		slog.Int64("job_id", o.JobID), slog.String("event_id", o.Args.EventID.String()),
		slog.String("idempotency_key", o.Args.IdempotencyKey), slog.String("template", o.Args.TemplateCollectionID.String()),
		slog.String("status", string(status)), slog.String("ending", string(o.Ending)), slog.Duration("took", o.Took),
	}
	if o.Trace.IsValid() {
		attrs = append(attrs, slog.String("trace_id", o.Trace.TraceID().String()), slog.String("span_id", o.Trace.SpanID().String()))
	}
	if o.Err != nil {
		attrs = append(attrs, slog.String("error", o.Err.Error()))
	} else if o.Result.Detail != "" {
		attrs = append(attrs, slog.String("detail", o.Result.Detail))
	}
	w.logger.Log(context.Background(), level, "Jobs: ran a job", attrs...)
}

// Stop takes in no new work, lets running jobs end, emits what they composed, and stops all parts, within ShutdownTimeout or until
// ctx ends, whichever is shorter. Jobs that would take longer are cut off and run again in another process. If a part hangs all
// the same, on a silent server or a lock, Stop returns a *StopError that names it, and the part ends with the process. Stop may
// be called twice, and before Start.
func (w *Worker) Stop(ctx context.Context) error {
	w.mu.Lock()
	running := w.running
	w.running = nil
	started := w.started
	w.mu.Unlock()
	if !started {
		return nil
	}
	if running == nil {
		<-w.stopped
		return w.stopErr
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.ShutdownTimeout)
	defer cancel()
	w.stopErr = running.stop(ctx)
	close(w.stopped)
	return w.stopErr
}
