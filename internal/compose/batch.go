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
)

// MaxBatch is how many events are composed in one transaction at most. More gains nothing: by then the cost of the transaction is
// spread thin enough.
const MaxBatch = 500

// leastSet is how many events of one template make a set worth while: fewer cost less if the function is called for each.
const leastSet = 4

const (
	// batchTimeout bounds a statement that composes, except that of an event which is known to take long. Most take milliseconds.
	batchTimeout = 5 * time.Second
	// aloneTimeout bounds the statement of an event that is composed alone because it took longer than batchTimeout.
	aloneTimeout = Timeout - grace
	// heldFor is how long events of a template go to the lane of their own after one of them met a lock.
	heldFor = 10 * time.Second
)

// Batcher gathers the calls of jobs of one queue that run at once into few statements. What arrives while all lanes are busy is
// composed together, and what arrives at an idle lane is composed at once, alone. A batch is one transaction. If it fails it is
// tried once more with a savepoint per event, so that one event which cannot be composed costs only itself; if that takes too
// long, one event at a time. Each queue has a Batcher of its own, so that no live event waits for a scale-out.
//
// Events that have failed before, and events of a template that another transaction holds, have a lane of their own that always
// uses savepoints: so no event makes the batches of others fail twice. Events that take long are composed outside the lanes, one
// at a time. Safe for concurrent use.
type Batcher struct {
	cfg      BatcherConfig
	requests chan *request
	again    chan *request
	heavy    chan struct{} // holds one token
	held     *held
	quit     chan struct{}
	lanes    sync.WaitGroup
	busy     atomic.Int32 // lanes
	closed   sync.Once
}

// held is the templates whose events are tried apart, until when.
type held struct {
	mu    sync.Mutex
	until map[uuid.UUID]time.Time
}

// BatcherConfig configures a Batcher. Functions are called by several goroutines.
type BatcherConfig struct {
	Pool       *pgxpool.Pool // Required.
	Lanes      int           // that compose at once, each with one connection of the pool; two more while events fail.
	Apart      *Batcher      // composes the events that fail, in its lane for them. Default: this Batcher.
	Throttle   *Throttle     // Default: no limit.
	ByFunction bool          // calls the function for each event, and never composes in sets

	// Observe is told about each transaction. Default: no call.
	Observe func(Batch)

	// Incarnation returns the incarnation that composes now. Default: it is not checked whether this process was taken for dead.
	Incarnation func() Incarnation
}

// Batch is one transaction of a Batcher, for metrics.
type Batch struct {
	Events   int
	Began    time.Time
	Took     time.Duration
	Split    bool      // it failed, and its events are retried apart
	Emission *Emission // what it announced; nil: left to the emitter
}

// Incarnation is a worker's id with the number of its lease, which is another one after the worker was taken for dead.
type Incarnation struct {
	Worker string
	Number int32
}

// ErrFenced means that this worker was taken for dead after it had fetched the job: the job runs elsewhere.
var ErrFenced = errors.New("this worker was declared dead: the job runs elsewhere")

type request struct {
	ctx   context.Context //nolint:containedctx // of the job that waits for the result
	event Event
	by    Incarnation // that fetched the job
	done  chan reply  // takes one without blocking
}

type reply struct {
	result Result
	err    error
}

// NewBatcher starts the lanes. Close ends them.
func NewBatcher(cfg BatcherConfig) *Batcher {
	if cfg.Throttle == nil {
		cfg.Throttle = NewThrottle(0)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Batch) {}
	}
	if cfg.Incarnation == nil {
		cfg.Incarnation = func() Incarnation { return Incarnation{} }
	}
	b := &Batcher{
		cfg: cfg, requests: make(chan *request, MaxBatch), again: make(chan *request, MaxBatch), quit: make(chan struct{}),
		heavy: make(chan struct{}, 1), held: &held{until: make(map[uuid.UUID]time.Time)},
	}
	for range cfg.Lanes {
		b.lanes.Go(func() { b.lane(b.requests, b.together) })
	}
	if cfg.Apart != nil {
		b.again, b.heavy, b.held = cfg.Apart.again, cfg.Apart.heavy, cfg.Apart.held
	} else {
		b.lanes.Go(func() { b.lane(b.again, b.apart) })
	}
	return b
}

// Busy returns how many lanes compose now.
func (b *Batcher) Busy() int { return int(b.busy.Load()) }

// Close ends the lanes once the batches that they took are done. Calls that still wait return when their contexts end.
func (b *Batcher) Close() {
	b.closed.Do(func() { close(b.quit) })
	b.lanes.Wait()
}

// Compose composes the instance of an event, or finds that it has been composed. The result is that of a committed
// transaction. Compose returns as soon as ctx ends; the event may be composed all the same, which the next call finds.
func (b *Batcher) Compose(ctx context.Context, event Event) (Result, error) {
	if b.held.has(event.TemplateCollectionID) {
		return b.ComposeAgain(ctx, event)
	}
	return b.ask(ctx, b.requests, event)
}

// ComposeAgain is Compose for an event that failed before: no other event waits for it.
func (b *Batcher) ComposeAgain(ctx context.Context, event Event) (Result, error) {
	return b.ask(ctx, b.again, event)
}

// composeAlone is Compose for an event that takes too long to be composed with others: alone, and one such event at a time.
func (b *Batcher) composeAlone(ctx context.Context, event Event) (Result, error) {
	select {
	case b.heavy <- struct{}{}:
	default:
		return Result{}, errBusy
	}
	defer func() { <-b.heavy }()
	b.cfg.Throttle.wait(1)
	r := b.request(ctx, event)
	b.run([]*request{r}, func(ctx context.Context, batch []*request) { b.single(ctx, batch, aloneTimeout) })
	a := <-r.done
	return a.result, a.err
}

func (b *Batcher) request(ctx context.Context, event Event) *request {
	return &request{ctx: ctx, event: event, by: b.cfg.Incarnation(), done: make(chan reply, 1)}
}

func (b *Batcher) ask(ctx context.Context, requests chan<- *request, event Event) (Result, error) {
	r := b.request(ctx, event)
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

// lane composes what is requested, one batch after the other, until the batcher is closed.
func (b *Batcher) lane(requests <-chan *request, compose func(context.Context, []*request)) {
	for {
		select {
		case <-b.quit:
			return
		case first := <-requests:
			batch := gather(first, requests, b.cfg.Throttle.most())
			b.cfg.Throttle.wait(len(batch))
			if batch = b.unfenced(batch); len(batch) > 0 {
				b.run(batch, compose)
			}
		}
	}
}

// gather returns a batch of at most so many requests: the first, and those that wait already.
func gather(first *request, requests <-chan *request, most int) []*request {
	batch := []*request{first}
	for len(batch) < most {
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
		r.done <- reply{err: ErrFenced}
		return true
	})
}

// run composes a batch and sends each request its result. It stops early if no request waits any more.
func (b *Batcher) run(batch []*request, compose func(context.Context, []*request)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer cancelWith(batch, cancel)()
	defer func() {
		if v := recover(); v != nil {
			replyAll(batch, fmt.Errorf("panic while composing: %v", v))
		}
	}()
	compose(ctx, batch)
}

// cancelWith calls cancel once the contexts of all requests have ended; release ends that.
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

// together composes a batch in one statement, or in several if it takes long.
func (b *Batcher) together(ctx context.Context, batch []*request) {
	b.busy.Add(1)
	defer b.busy.Add(-1)
	for len(batch) > 0 {
		batch = b.statement(ctx, batch)
	}
}

// statement composes a batch in one statement and returns the requests that it did not get to.
func (b *Batcher) statement(ctx context.Context, batch []*request) (rest []*request) {
	timeout := batchTimeout
	if len(batch) == 1 {
		timeout *= 2 // no other event waits for it
	}
	start, endCalls := time.Now(), startCalls(batch)
	done, err := composeAll(ctx, b.cfg.Pool, contents(batch, timeout), b.leastSet(), b.alone(batch))
	endCalls(err)
	for i, r := range done.replies {
		if r == nil {
			rest = append(rest, batch[i])
		}
	}
	split := err != nil && (len(batch) > 1 || lockHeld(err)) && Divides(err)
	b.cfg.Observe(Batch{Events: len(batch) - len(rest), Began: start, Took: time.Since(start), Split: split, Emission: done.emission})
	switch {
	case split && lasting(err):
		b.singles(ctx, batch)
	case split:
		b.apart(ctx, batch)
	case err != nil:
		replyAll(batch, err)
	}
	for i, r := range done.replies {
		if r != nil {
			batch[i].done <- *r
		}
	}
	return rest
}

func (b *Batcher) leastSet() int {
	if b.cfg.ByFunction {
		return 0
	}
	return leastSet
}

// apart composes a batch in one transaction with a savepoint per event; if that takes too long, or too much memory, each event
// in a transaction of its own.
func (b *Batcher) apart(ctx context.Context, batch []*request) {
	replies, err := b.transact(ctx, batch, batchTimeout)
	switch {
	case err == nil:
		b.replyApart(batch, replies)
	case len(batch) > 1 && lasting(err):
		b.singles(ctx, batch)
	default:
		replyAll(batch, err)
	}
}

func (b *Batcher) singles(ctx context.Context, batch []*request) {
	for i := range batch {
		b.single(ctx, batch[i:i+1], batchTimeout)
	}
}

// single composes the one event of a batch.
func (b *Batcher) single(ctx context.Context, batch []*request, timeout time.Duration) {
	replies, err := b.transact(ctx, batch, timeout)
	if err != nil {
		replyAll(batch, err)
		return
	}
	batch[0].done <- replies[0]
}

// transact composes a batch in one transaction with a savepoint per event.
func (b *Batcher) transact(ctx context.Context, batch []*request, timeout time.Duration) ([]reply, error) {
	start, endCalls := time.Now(), startCalls(batch)
	replies, err := composeApart(ctx, b.cfg.Pool, contents(batch, timeout))
	endCalls(err)
	split := err != nil && len(batch) > 1 && lasting(err)
	b.cfg.Observe(Batch{Events: len(batch), Began: start, Took: time.Since(start), Split: split})
	return replies, err
}

func contents(batch []*request, timeout time.Duration) batchCall {
	c := batchCall{by: batch[0].by, timeout: timeout}
	for _, r := range batch {
		c.events, c.traces = append(c.events, r.event), append(c.traces, emittedTrace(r.ctx, r.event.AutoInstantiateArgs))
	}
	return c
}

// replyApart sends each request its result, and notes which templates are held: those of which one event met a lock and none was
// composed.
func (b *Batcher) replyApart(batch []*request, replies []reply) {
	through, stuck := map[uuid.UUID]bool{}, map[uuid.UUID]bool{}
	for i, r := range batch {
		switch template := r.event.TemplateCollectionID; {
		case replies[i].err == nil:
			through[template] = true
		case lockHeld(replies[i].err):
			stuck[template] = true
		}
	}
	b.held.mu.Lock()
	for template := range stuck {
		b.held.until[template] = time.Now().Add(heldFor)
	}
	for template := range through {
		delete(b.held.until, template)
	}
	b.held.mu.Unlock()
	for i, r := range batch {
		a := replies[i]
		if a.err != nil && len(through) > 0 {
			a.err = ownError{a.err}
		}
		r.done <- a
	}
}

func (h *held) has(template uuid.UUID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, ok := h.until[template]
	if ok && time.Now().After(until) {
		delete(h.until, template)
		return false
	}
	return ok
}

// errBusy means that another slow event is being composed.
var errBusy = fmt.Errorf("wait for a slow event: %w", ErrKeyHeld)

// alone reports whether a batch may announce what it composes: it is one event, and no other batch runs. Only one transaction can
// announce at a time; if there is more to do, the emitter announces many at once while others compose.
func (b *Batcher) alone(batch []*request) bool { return len(batch) == 1 && b.busy.Load() == 1 }

func replyAll(batch []*request, err error) {
	for _, r := range batch {
		select {
		case r.done <- reply{err: err}:
		default: // it has its result already
		}
	}
}
