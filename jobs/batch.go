package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// MaxBatch is how many events are composed in one transaction at most. More gains nothing: what a transaction costs
// is spread thin enough by then.
const MaxBatch = 100

// urgentInARow is how many batches of events a lane composes while scale-outs wait, too, before it composes one of theirs.
const urgentInARow = 4

// Batcher gathers the calls of jobs that run at once into few statements: what waits while all lanes are busy goes
// together, and what comes to an idle lane goes at once, alone. A batch is one transaction; where it fails it is tried
// in halves, so that one event that cannot be composed costs only itself. Events and scale-outs are not mixed, events go
// first, and of four lanes three are theirs alone: none waits for hundreds of others, or competes with them for the server's
// CPUs in as many sessions. Safe for concurrent use.
type Batcher struct {
	cfg      BatcherConfig
	events   chan *request
	scaleout chan *request
	quit     chan struct{}
	lanes    sync.WaitGroup
	busy     atomic.Int32 // lanes
	closed   sync.Once
}

// BatcherConfig configures a Batcher. Funcs that are nil do nothing; others are called by several goroutines.
type BatcherConfig struct {
	Pool  *pgxpool.Pool // Required.
	Lanes int           // run at once, each with one connection of the pool at a time. Required.

	// Observe is told about each transaction.
	Observe func(Batch)

	// Turn is called before each batch: it waits until there may be one, or stop is closed; done ends it.
	Turn func(stop <-chan struct{}) (done func())

	// Incarnation is who composes now. Default: nobody asks whether this process was taken for dead.
	Incarnation func() Incarnation

	// Waited is told when the first event of a batch could first have been composed; a scale-out's waits for no time.
	Waited func(due time.Time)
}

// Batch is one transaction of a Batcher, for metrics.
type Batch struct {
	Events   int
	Began    time.Time
	Took     time.Duration
	Split    bool      // it failed, and its halves are tried
	Emission *Emission // nil: left to the emitter
}

// Incarnation is a worker's id with the number that it chose when it last began, or was last taken for dead.
type Incarnation struct {
	Worker string
	Number int32
}

// ErrFenced says that this worker was taken for dead since it took a job: the job runs elsewhere.
var ErrFenced = errors.New("this worker was taken for dead: the job runs elsewhere")

type request struct {
	ctx  context.Context //nolint:containedctx // of the job that waits for the answer
	args AutoInstantiateArgs
	due  time.Time
	by   Incarnation // that took the job
	done chan answer // takes one without blocking
}

type answer struct {
	result Result
	err    error
}

// NewBatcher starts the lanes. Close ends them.
func NewBatcher(cfg BatcherConfig) *Batcher {
	if cfg.Observe == nil {
		cfg.Observe = func(Batch) {}
	}
	if cfg.Turn == nil {
		cfg.Turn = func(<-chan struct{}) func() { return func() {} }
	}
	if cfg.Waited == nil {
		cfg.Waited = func(time.Time) {}
	}
	if cfg.Incarnation == nil {
		cfg.Incarnation = func() Incarnation { return Incarnation{} }
	}
	b := &Batcher{
		cfg: cfg, quit: make(chan struct{}),
		events: make(chan *request, MaxBatch), scaleout: make(chan *request, MaxBatch),
	}
	for n := range cfg.Lanes {
		b.lanes.Go(func() { b.lane(n >= max(1, cfg.Lanes/4)) })
	}
	return b
}

// Close ends the lanes once they have answered what they took. Calls that still wait are answered by their contexts.
func (b *Batcher) Close() {
	b.closed.Do(func() { close(b.quit) })
	b.lanes.Wait()
}

// Compose composes the instance of an event of a queue that was due at a time, or finds that it has been. What it answers is
// committed. A context that ends is answered at once; the event may be composed all the same, which the next call finds.
func (b *Batcher) Compose(ctx context.Context, queue string, due time.Time, args AutoInstantiateArgs) (Result, error) {
	r := &request{ctx: ctx, args: args, due: due, by: b.cfg.Incarnation(), done: make(chan answer, 1)}
	requests := b.events
	if queue == QueueScaleout {
		requests = b.scaleout
	}
	select {
	case requests <- r:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for a batch: %w", ctx.Err())
	}
	select {
	case a := <-r.done:
		return a.result, a.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for the batch: %w", ctx.Err())
	}
}

func (b *Batcher) lane(reserved bool) {
	scaleout := b.scaleout
	if reserved {
		scaleout = nil // nothing ever comes
	}
	urgent := 0
	for {
		first, requests := b.next(scaleout, urgent < urgentInARow)
		if first == nil {
			return
		}
		if urgent++; requests == b.scaleout {
			urgent = 0
		}
		if requests == b.events {
			b.cfg.Waited(first.due)
		}
		done := b.cfg.Turn(b.quit)
		b.busy.Add(1)
		if batch := b.unfenced(gather(first, requests)); len(batch) > 0 {
			b.run(batch)
		}
		b.busy.Add(-1)
		done()
	}
}

// next waits for a request, and answers where others like it are; nil: the batcher is closed. Where requests of both kinds
// wait it takes an event's, or, not urgent, a scale-out's.
func (b *Batcher) next(scaleout chan *request, urgent bool) (*request, chan *request) {
	preferred := b.events
	if !urgent {
		preferred = scaleout
	}
	select {
	case <-b.quit:
		return nil, nil
	case r := <-preferred:
		return r, preferred
	default:
	}
	select {
	case <-b.quit:
		return nil, nil
	case r := <-b.events:
		return r, b.events
	case r := <-scaleout:
		return r, scaleout
	}
}

// gather takes what waits already.
func gather(first *request, requests <-chan *request) []*request {
	batch := []*request{first}
	for len(batch) < MaxBatch {
		select {
		case r := <-requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// unfenced returns the requests for jobs that are still this process's own, and answers the others.
func (b *Batcher) unfenced(batch []*request) []*request {
	now := b.cfg.Incarnation()
	return slices.DeleteFunc(batch, func(r *request) bool {
		if r.by == now {
			return false
		}
		r.done <- answer{err: ErrFenced}
		return true
	})
}

// run composes a batch and answers each of its requests. It goes on while one of them still waits.
func (b *Batcher) run(batch []*request) {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	defer cancelWith(batch, cancel)()
	defer func() {
		if v := recover(); v != nil {
			answerAll(batch, fmt.Errorf("panic while composing: %v", v))
		}
	}()
	b.compose(ctx, batch)
}

// cancelWith calls cancel once the contexts of all requests have ended; what it answers lets go of them.
func cancelWith(batch []*request, cancel func()) (release func()) {
	var waiting atomic.Int64
	waiting.Store(int64(len(batch)))
	stops := make([]func() bool, len(batch))
	for i, r := range batch {
		stops[i] = context.AfterFunc(r.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func (b *Batcher) compose(ctx context.Context, batch []*request) {
	events, traceparents := make([]AutoInstantiateArgs, len(batch)), make([]string, len(batch))
	for i, r := range batch {
		events[i], traceparents[i] = r.args, traceparent(r.ctx, r.args)
	}
	start, endCalls := time.Now(), beginCalls(batch)
	done, err := composeAll(ctx, b.cfg.Pool, events, traceparents, b.alone(batch), batch[0].by)
	endCalls(err)
	split := err != nil && len(batch) > 1 && blamesAnEvent(err)
	about := Batch{Events: len(batch), Began: start, Took: time.Since(start), Split: split, Emission: done.emission}
	switch {
	case err == nil:
		for i, r := range batch {
			if done.results[i] == nil {
				r.done <- answer{err: ErrKeyHeld}
				continue
			}
			r.done <- answer{result: *done.results[i]}
		}
	case !split:
		answerAll(batch, err)
	}
	b.cfg.Observe(about)
	if split {
		half := len(batch) / 2
		b.compose(ctx, batch[:half])
		b.compose(ctx, batch[half:])
	}
}

// alone reports whether a batch may announce what it composes: there is one event, and no other batch runs. Announcing is
// for one transaction at a time; where there is more to do the emitter does it for many at once, while others compose.
func (b *Batcher) alone(batch []*request) bool { return len(batch) == 1 && b.busy.Load() == 1 }

func answerAll(batch []*request, err error) {
	for _, r := range batch {
		select {
		case r.done <- answer{err: err}:
		default: // answered before
		}
	}
}

// blamesAnEvent reports whether an error may be one event's own: the server's, and none of those that end a session or
// say that the server is not there.
func blamesAnEvent(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || errors.Is(err, ErrFenced) {
		return false
	}
	switch pgErr.Code[:2] {
	case "08", "57", "58":
		return false
	}
	return true
}
