package worker

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

const (
	// busyRate is how many rows a second producers insert at least where anybody looks whether the worker is in their way.
	busyRate = 500.0

	slotLength = 10 * time.Millisecond  // between two looks at how many rows there have been
	longerSlot = 40 * time.Millisecond  // the same while room is made, when what is seen changes little
	calmAfter  = 500 * time.Millisecond // of less than busyRate

	// Producers get attention where as many rows a second leave the outbox, for a time.
	attentionRate = 200.0
	attentionTime = 100 * time.Millisecond

	// A process that has been busy for usualTime rests, to see what producers do without it, and again after twice as long
	// each time, up to probeEvery.
	usualTime    = 100 * time.Millisecond
	probeEvery   = time.Second
	longestProbe = 500 * time.Millisecond

	leastShare = 0.05 // of the time that is worked while room is made for producers
	turnLength = 20 * time.Millisecond
	turnRows   = 100 // that the relay claims meanwhile: a turn is over when the jobs of these are
)

// yielder makes room for producers. Where they insert as fast as the server lets them, composing takes the same CPUs and
// the same log, and an application pays with its commits for work that can wait. So, while much is inserted, it compares
// what producers get done while this process works with what they get done while it rests. Where its work holds them up
// it works a small share of the time: more, the longer events have waited, and all of it where they have waited for limit.
// Where producers insert at a pace of their own, which no rest changes, it works as ever.
//
// Each process judges by itself. The relay and the lanes of a batcher work in turns, and rest together; what else the
// worker does follows from theirs. Safe for concurrent use.
type yielder struct {
	pool    *pgxpool.Pool
	limit   time.Duration // < 0: never rest
	longest time.Duration // of a rest
	logger  *slog.Logger
	metrics *metrics.Metrics
	stir    chan struct{} // holds one: rows have left the outbox

	throttled atomic.Bool // it makes room

	mu      sync.Mutex
	over    chan struct{} // closed when the rest ends; nil: there is none
	ended   bool          // there will be none
	short   bool          // turns are
	working int           // turns under way
	idle    chan struct{} // closed when the last of them ends
	changed time.Time     // when working last became 0 or 1
	worked  time.Duration // until changed, with a turn under way
	lag     time.Duration // the longest wait of an event that was seen since it was asked for
	skew    time.Duration // the server's clock less ours
	counted time.Time     // since when rows that left the outbox are counted
	count   int
}

func newYielder(cfg Config) *yielder {
	idle := make(chan struct{})
	close(idle)
	return &yielder{
		pool: cfg.Pool, limit: cfg.Yield, longest: longestRest(cfg), logger: cfg.Logger, metrics: cfg.Metrics,
		stir: make(chan struct{}, 1), idle: idle, changed: time.Now(),
	}
}

// longestRest leaves jobs that River has fetched time: in each turn each lane composes a batch, and none of them shall wait for
// half of its timeout.
func longestRest(cfg Config) time.Duration {
	turns := float64(cfg.Concurrency+cfg.ScaleoutConcurrency) / float64(cfg.Lanes*jobs.MaxBatch)
	return min(5*time.Second, cfg.Yield/4, time.Duration(float64(jobs.Timeout/2)/turns))
}

// turn waits for the end of a rest, or stop, and begins a turn, which done ends.
func (y *yielder) turn(stop <-chan struct{}) (done func()) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for stopped := false; y.over != nil && !stopped; {
		over, began := y.over, time.Now()
		y.mu.Unlock()
		select {
		case <-over:
		case <-stop:
			stopped = true
		}
		y.metrics.Rested(time.Since(began))
		y.mu.Lock()
	}
	if y.working++; y.working == 1 {
		y.changed, y.idle = time.Now(), make(chan struct{})
	}
	return y.endTurn
}

func (y *yielder) endTurn() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.working--; y.working == 0 {
		y.worked, y.changed = y.worked+time.Since(y.changed), time.Now()
		close(y.idle)
	}
}

// resting reports whether a turn would have to wait.
func (y *yielder) resting() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.over != nil
}

// rows answers how many of a number of rows to claim at once.
func (y *yielder) rows(most int) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.short {
		return min(most, turnRows)
	}
	return most
}

// shorten says whether turns are to be short.
func (y *yielder) shorten(yes bool) {
	y.mu.Lock()
	y.short = yes
	y.mu.Unlock()
}

// rest keeps turns from beginning, until work.
func (y *yielder) rest() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.over == nil && !y.ended {
		y.over = make(chan struct{})
	}
}

func (y *yielder) work() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.over != nil {
		close(y.over)
		y.over = nil
	}
}

// end ends the last rest: what is there shall be done, and fast.
func (y *yielder) end() {
	y.mu.Lock()
	y.ended = true
	y.mu.Unlock()
	y.work()
}

// waited tells that an event is on its way which was due at a time by the server's clock.
func (y *yielder) waited(due time.Time) {
	y.mu.Lock()
	y.lag = max(y.lag, time.Since(due)+y.skew)
	y.mu.Unlock()
}

// share answers how much of its time the process shall work while it makes room.
func (y *yielder) share() float64 {
	y.mu.Lock()
	lag := y.lag
	y.lag = 0
	y.mu.Unlock()
	return shareFor(lag, y.limit)
}

// shareFor grows from the least, while nobody has waited for half of the limit, to all at the limit.
func shareFor(lag, limit time.Duration) float64 {
	if lag >= limit {
		return 1
	}
	return max(leastShare, 2*lag.Seconds()/limit.Seconds()-1)
}

// workedUntil answers for how long turns have been under way, and since when there is none, or one.
func (y *yielder) workedUntil(now time.Time) (worked time.Duration, changed time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	worked = y.worked
	if y.working > 0 {
		worked += now.Sub(y.changed)
	}
	return worked, y.changed
}

// look is what there was at a moment.
type look struct {
	at      time.Time
	rows    int64 // ever inserted, those of transactions under way included
	worked  time.Duration
	changed time.Time
}

func (y *yielder) look(ctx context.Context) (look, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // nobody rests because of a server that does not answer
	defer cancel()
	began := time.Now()
	var rows int64
	var clock time.Time
	err := y.pool.QueryRow(ctx, `
		SELECT COALESCE(pg_catalog.pg_sequence_last_value('iu_outbox.event_id_seq'), 0), pg_catalog.clock_timestamp()`).
		Scan(&rows, &clock)
	if err != nil {
		return look{}, fmt.Errorf("look how many rows there have been: %w", err)
	}
	now := time.Now()
	y.mu.Lock()
	y.skew = clock.Sub(began.Add(now.Sub(began) / 2))
	y.mu.Unlock()
	worked, changed := y.workedUntil(now)
	return look{at: now, rows: rows, worked: worked, changed: changed}, nil
}

// rate answers how many rows a second came between two looks.
func rate(from, to look) float64 { return float64(to.rows-from.rows) / to.at.Sub(from.at).Seconds() }

// run makes room while it is needed, until ctx ends.
func (y *yielder) run(ctx context.Context) error {
	if y.limit < 0 {
		return nil
	}
	for ctx.Err() == nil {
		select {
		case <-y.stir:
		case <-ctx.Done():
			return nil
		}
		if err := y.attend(ctx); err != nil && ctx.Err() == nil {
			y.logger.DebugContext(ctx, "Worker: cannot see how busy producers are", slog.String("error", err.Error()))
			retry.Pause(ctx, time.Second)
		}
	}
	return nil
}

// stirred tells that rows have left the outbox, and calls for attention where they are many.
func (y *yielder) stirred(rows int) {
	y.mu.Lock()
	if time.Since(y.counted) > attentionTime {
		y.counted, y.count = time.Now(), 0
	}
	y.count += rows
	many := float64(y.count) >= attentionRate*attentionTime.Seconds()
	y.mu.Unlock()
	if !many {
		return
	}
	select {
	case y.stir <- struct{}{}:
	default:
	}
}

// attend looks whether producers are busy, and watches them for as long as they are.
func (y *yielder) attend(ctx context.Context) error {
	before, err := y.look(ctx)
	if err != nil || !retry.Pause(ctx, 5*slotLength) {
		return err
	}
	now, err := y.look(ctx)
	if err != nil || rate(before, now) < busyRate {
		return err
	}
	w := &watch{yielder: y, wait: usualTime, turns: make(chan float64, 1)}
	defer w.end(ctx)
	return w.run(ctx, now)
}

// watch is one time of busy producers.
type watch struct {
	*yielder

	slots     slots
	usual     look          // since when the process works as ever
	usualRate float64       // rows a second then, until it began to probe
	probing   time.Time     // since when; zero: not now
	wait      time.Duration // after the last probe, for the next
	pacer     *group        // nil: no room is made
	turns     chan float64  // rows a second in a turn of the pacer
	from      time.Time     // since when it is, or is not
}

func (w *watch) run(ctx context.Context, last look) error {
	calm := last
	w.usual, w.from = last, last.at
	for length := slotLength; retry.Pause(ctx, length); {
		now, err := w.look(ctx)
		if err != nil {
			return err
		}
		w.slots.add(last, now)
		last = now
		if now.at.Sub(calm.at) >= calmAfter {
			if rate(calm, now) < busyRate {
				return nil
			}
			calm = now
		}
		w.judge(ctx, now)
		if length = slotLength; w.pacer != nil {
			length = longerSlot
		}
	}
	return nil
}

func (w *watch) judge(ctx context.Context, now look) {
	usually := now.at.Sub(w.usual.at)
	switch {
	case w.pacer != nil:
		select {
		case rate := <-w.turns:
			w.slots.atWork.add(rate)
		default:
		}
		if w.slots.free() {
			w.end(ctx)
			w.usual, w.wait = now, usualTime
		}
	case !w.probing.IsZero():
		if len(w.slots.atRest) < slotsToProbe && now.at.Sub(w.probing) < longestProbe {
			return
		}
		heldUp := w.slots.heldUp(w.usualRate)
		w.probing, w.usual, w.wait = time.Time{}, now, min(2*w.wait, probeEvery)
		if heldUp {
			w.begin(ctx)
		} else {
			w.work()
		}
	case usually < w.wait:
	case now.worked-w.usual.worked > usually/2:
		w.usualRate, w.probing = rate(w.usual, now), now.at
		w.slots.clear()
		w.rest()
	default: // who has little to do is in nobody's way
		w.usual = now
	}
}

// begin makes room. What was worked until now counts as the first turn.
func (w *watch) begin(ctx context.Context) {
	took := time.Since(w.from)
	w.from = time.Now()
	w.metrics.Yielding(true)
	w.throttled.Store(true)
	w.logger.InfoContext(ctx, "Worker: making room for producers, who insert less while it works",
		slog.Float64("rows_per_second", math.Round(w.usualRate)), slog.Float64("rows_per_second_without", math.Round(w.slots.atRest.mean())),
		slog.Duration("until_events_waited", w.limit))
	w.slots.clear()
	w.share() // forget waits from before
	pacer := newGroup(ctx)
	w.pacer = &pacer
	pacer.wg.Go(func() { w.pace(pacer.ctx, took) })
}

// end works as ever.
func (w *watch) end(ctx context.Context) {
	if w.pacer != nil {
		w.pacer.end()
		w.pacer = nil
		w.metrics.Yielding(false)
		w.throttled.Store(false)
		w.shorten(false)
		w.logger.InfoContext(ctx, "Worker: working at full speed again", slog.Duration("after", time.Since(w.from)))
		w.from = time.Now()
	}
	w.work()
}

// pace rests and works in turns until ctx ends. took is how long the last turn was.
func (w *watch) pace(ctx context.Context, took time.Duration) {
	for ctx.Err() == nil {
		share := w.share()
		w.shorten(share < 1)
		if share == 1 {
			w.work()
			retry.Pause(ctx, calmAfter)
			continue
		}
		w.rest()
		retry.Pause(ctx, min(time.Duration(float64(took)*(1/share-1)), w.longest))
		from, fromErr := w.look(ctx)
		began := time.Now()
		w.work()
		retry.Pause(ctx, turnLength)
		w.rest()
		w.untilIdle(ctx)
		took = time.Since(began)
		to, toErr := w.look(ctx)
		if fromErr != nil || toErr != nil {
			continue // nothing is learnt of this turn; where looks go on failing the watch ends
		}
		select {
		case w.turns <- rate(from, to):
		default: // the watch is late; the next will do
		}
	}
}

// untilIdle waits for the last turn to end, but not for long: one that is stuck holds up none of the others.
func (y *yielder) untilIdle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	y.mu.Lock()
	idle := y.idle
	y.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
