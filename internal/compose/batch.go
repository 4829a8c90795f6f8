package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/jobs"
)

// MaxBatch is how many events are composed in one transaction at most. More gains nothing: what a transaction costs
// is spread thin enough by then.
const MaxBatch = 100

// urgentInARow is how many batches of events a lane composes while scale-outs wait, too, before it composes one of theirs.
const urgentInARow = 4

const (
	// batchTimeout bounds a statement that composes, but for that of an event which is known to take long: a usual one
	// takes milliseconds.
	batchTimeout = 5 * time.Second
	// aloneTimeout bounds the statement of an event that is composed alone, since it took longer than batchTimeout.
	aloneTimeout = Timeout - grace
	// heldFor is how long events of a template are tried apart after one of them was held up.
	heldFor = 10 * time.Second
)

// Batcher gathers the calls of jobs that run at once into few statements: what waits while all lanes are busy goes
// together, and what comes to an idle lane goes at once, alone. A batch is one transaction. If it fails it is tried once
// more with a savepoint an event, so that one which cannot be composed costs only itself; if that takes too long, an
// event at a time. Events and scale-outs are not mixed, events go first, and of four lanes three are theirs alone: none
// waits for hundreds of others, or competes with them for the server's CPUs in as many sessions.
//
// What has failed before, and events of a template that somebody else's transaction holds, go by a lane of their own,
// always with savepoints: so no event makes the batches of others fail twice. One that takes long is composed beside
// the lanes, one such event at a time. Safe for concurrent use.
type Batcher struct {
	cfg      BatcherConfig
	events   chan *request
	scaleout chan *request
	again    chan *request
	quit     chan struct{}
	lanes    sync.WaitGroup
	busy     atomic.Int32  // lanes
	heavy    chan struct{} // holds one token
	closed   sync.Once

	mu   sync.Mutex
	held map[uuid.UUID]time.Time // templates, until when their events are tried apart
}

// BatcherConfig configures a Batcher. Funcs that are nil do nothing; others are called by several goroutines.
type BatcherConfig struct {
	Pool  *pgxpool.Pool // Required.
	Lanes int           // run at once, each with one connection of the pool at a time; two more while events fail. Required.

	// Observe is told about each transaction.
	Observe func(Batch)

	// Turn is called before each batch: it waits until there may be one, or stop is closed; done ends it.
	Turn func(stop <-chan struct{}) (done func())

	// Incarnation returns the incarnation that composes now. Default: it is not checked whether this process was taken for dead.
	Incarnation func() Incarnation

	// Waited is told when the first event of a batch could first have been composed; a scale-out's waits for no time.
	Waited func(due time.Time)
}

// Batch is one transaction of a Batcher, for metrics.
type Batch struct {
	Events   int
	Began    time.Time
	Took     time.Duration
	Split    bool      // it failed, and its events are tried apart
	Emission *Emission // nil: left to the emitter
}

// Incarnation is a worker's id with the number that it chose when it last began, or was last taken for dead.
type Incarnation struct {
	Worker string
	Number int32
}

// args are what iu_outbox.fence takes; no worker is not fenced.
func (i Incarnation) args() []any {
	if i.Worker == "" {
		return []any{nil, i.Number}
	}
	return []any{i.Worker, i.Number}
}

// ErrFenced means that this worker was taken for dead since it took a job: the job runs elsewhere.
var ErrFenced = errors.New("this worker was declared dead: the job runs elsewhere")

type request struct {
	ctx  context.Context //nolint:containedctx // of the job that waits for the answer
	args jobs.AutoInstantiateArgs
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
		events: make(chan *request, MaxBatch), scaleout: make(chan *request, MaxBatch), again: make(chan *request, MaxBatch),
		heavy: make(chan struct{}, 1), held: make(map[uuid.UUID]time.Time),
	}
	b.lanes.Go(b.apartLane)
	for n := range cfg.Lanes {
		b.lanes.Go(func() { b.lane(n >= max(1, cfg.Lanes/4)) })
	}
	return b
}

// Busy returns how many lanes compose now.
func (b *Batcher) Busy() int { return int(b.busy.Load()) }

// Close ends the lanes once they have answered what they took. Calls that still wait are answered by their contexts.
func (b *Batcher) Close() {
	b.closed.Do(func() { close(b.quit) })
	b.lanes.Wait()
}

// Compose composes the instance of an event of a queue that was due at a time, or finds that it has been. What it returns is
// committed. A context that ends is answered at once; the event may be composed all the same, which the next call finds.
func (b *Batcher) Compose(ctx context.Context, queue string, due time.Time, args jobs.AutoInstantiateArgs) (Result, error) {
	switch {
	case b.isHeld(args.TemplateCollectionID):
		return b.ComposeAgain(ctx, due, args)
	case queue == jobs.QueueScaleout:
		return b.ask(ctx, b.scaleout, due, args)
	default:
		return b.ask(ctx, b.events, due, args)
	}
}

// ComposeAgain is Compose for an event that failed before: no other event waits for it.
func (b *Batcher) ComposeAgain(ctx context.Context, due time.Time, args jobs.AutoInstantiateArgs) (Result, error) {
	return b.ask(ctx, b.again, due, args)
}

// composeAlone is Compose for an event that takes too long to be composed with others: alone, and one such at a time.
func (b *Batcher) composeAlone(ctx context.Context, due time.Time, args jobs.AutoInstantiateArgs) (result Result, err error) {
	select {
	case b.heavy <- struct{}{}:
	default:
		return Result{}, errBusy
	}
	defer func() { <-b.heavy }()
	r := b.request(ctx, due, args)
	b.run([]*request{r}, func(ctx context.Context, _ []*request) { b.single(ctx, r, aloneTimeout) })
	a := <-r.done
	return a.result, a.err
}

func (b *Batcher) request(ctx context.Context, due time.Time, args jobs.AutoInstantiateArgs) *request {
	return &request{ctx: ctx, args: args, due: due, by: b.cfg.Incarnation(), done: make(chan answer, 1)}
}

func (b *Batcher) ask(ctx context.Context, requests chan<- *request, due time.Time, args jobs.AutoInstantiateArgs) (Result, error) {
	r := b.request(ctx, due, args)
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
			b.run(batch, b.compose)
		}
		b.busy.Add(-1)
		done()
	}
}

// next waits for a request, and returns where others like it are; nil: the batcher is closed. Where requests of both kinds
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

// unfenced returns the requests for jobs that are still this process's own, and fails the others with ErrFenced.
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

// apartLane composes what failed before, or is held.
func (b *Batcher) apartLane() {
	for {
		select {
		case <-b.quit:
			return
		case first := <-b.again:
			done := b.cfg.Turn(b.quit)
			if batch := b.unfenced(gather(first, b.again)); len(batch) > 0 {
				b.run(batch, b.apart)
			}
			done()
		}
	}
}

// run composes a batch and sends each request its result. It goes on while one of them still waits.
func (b *Batcher) run(batch []*request, compose func(context.Context, []*request)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer cancelWith(batch, cancel)()
	defer func() {
		if v := recover(); v != nil {
			answerAll(batch, fmt.Errorf("panic while composing: %v", v))
		}
	}()
	compose(ctx, batch)
}

// cancelWith calls cancel once the contexts of all requests have ended; what it returns lets go of them.
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
	events, traces := contents(batch)
	start, endCalls := time.Now(), beginCalls(batch)
	timeout := batchTimeout
	if len(batch) == 1 {
		timeout *= 2 // no other event waits for it
	}
	done, err := composeAll(ctx, b.cfg.Pool, events, traces, b.alone(batch), timeout, batch[0].by)
	endCalls(err)
	split := err != nil && (len(batch) > 1 || lockHeld(err)) && Divides(err)
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
	switch {
	case split && lasting(err):
		b.singles(ctx, batch)
	case split:
		b.apart(ctx, batch)
	}
}

func contents(batch []*request) (events []jobs.AutoInstantiateArgs, traces []string) {
	events, traces = make([]jobs.AutoInstantiateArgs, len(batch)), make([]string, len(batch))
	for i, r := range batch {
		events[i], traces[i] = r.args, emittedTrace(r.ctx, r.args)
	}
	return events, traces
}

// apart composes a batch with a savepoint an event; if the whole takes too long, or too much, each in a transaction.
func (b *Batcher) apart(ctx context.Context, batch []*request) {
	events, traces := contents(batch)
	start, endCalls := time.Now(), beginCalls(batch)
	answers, err := composeApart(ctx, b.cfg.Pool, events, traces, batchTimeout, batch[0].by)
	endCalls(err)
	split := err != nil && len(batch) > 1 && lasting(err)
	b.cfg.Observe(Batch{Events: len(batch), Began: start, Took: time.Since(start), Split: split})
	switch {
	case split:
		b.singles(ctx, batch)
	case err != nil:
		answerAll(batch, err)
	default:
		b.answerApart(batch, answers)
	}
}

// answerApart tells each request what became of it, and notes which templates are held: those of which no event went
// through, and one was held up.
func (b *Batcher) answerApart(batch []*request, answers []answer) {
	through, stuck := map[uuid.UUID]bool{}, map[uuid.UUID]bool{}
	for i, r := range batch {
		switch template := r.args.TemplateCollectionID; {
		case answers[i].err == nil:
			through[template] = true
		case lockHeld(answers[i].err):
			stuck[template] = true
		}
	}
	b.mu.Lock()
	for template := range stuck {
		b.held[template] = time.Now().Add(heldFor)
	}
	for template := range through {
		delete(b.held, template)
	}
	b.mu.Unlock()
	for i, r := range batch {
		a := answers[i]
		if a.err != nil && len(through) > 0 {
			a.err = ownError{a.err}
		}
		r.done <- a
	}
}

func (b *Batcher) isHeld(template uuid.UUID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, held := b.held[template]
	if held && time.Now().After(until) {
		delete(b.held, template)
		return false
	}
	return held
}

func (b *Batcher) singles(ctx context.Context, batch []*request) {
	for _, r := range batch {
		b.single(ctx, r, batchTimeout)
	}
}

// single composes one event in a transaction of its own.
func (b *Batcher) single(ctx context.Context, r *request, timeout time.Duration) {
	batch := []*request{r}
	events, traces := contents(batch)
	start, endCalls := time.Now(), beginCalls(batch)
	answers, err := composeApart(ctx, b.cfg.Pool, events, traces, timeout, r.by)
	endCalls(err)
	b.cfg.Observe(Batch{Events: 1, Began: start, Took: time.Since(start)})
	if err != nil {
		answerAll(batch, err)
		return
	}
	r.done <- answers[0]
}

// errBusy means that another slow event is being composed.
var errBusy = fmt.Errorf("wait for a slow event: %w", ErrKeyHeld)

// alone reports whether a batch may announce what it composes: there is one event, and no other batch runs. Announcing is
// for one transaction at a time; if there is more to do the emitter does it for many at once, while others compose.
func (b *Batcher) alone(batch []*request) bool { return len(batch) == 1 && b.busy.Load() == 1 }

func answerAll(batch []*request, err error) {
	for _, r := range batch {
		select {
		case r.done <- answer{err: err}:
		default: // answered before
		}
	}
}
