package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	shortHistory   = 10_000
	firstTenth     = "the first tenth of them, on an empty database"
	shortDrain     = "the same drain with about 10,000 finished jobs"
	stallsAfter    = time.Minute // without a single event
	stretchesAhead = 2           // of rows that wait in the outbox
)

// growth measures whether a long history slows the worker down, while it is made without a pause and afterwards. It does so in
// databases of its own: the history of other groups would be part of the first events.
func (b *bench) growth(ctx context.Context) error {
	return b.withScratch(ctx, func(long *scratch) error {
		if err := b.grow(ctx, long); err != nil {
			return err
		}
		return b.withScratch(ctx, func(short *scratch) error { return b.drainHistories(ctx, short, long) })
	})
}

// withScratch runs do with another scratch database.
func (b *bench) withScratch(ctx context.Context, do func(*scratch) error) (err error) {
	s, err := createScratch(ctx, b.cfg.Server, b.cfg.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Drop(ctx)) }()
	return do(s)
}

// grow compares the rate of the last tenth of the history with that of the first.
func (b *bench) grow(ctx context.Context, s *scratch) error {
	history := b.cfg.Sizes.History
	points, m, err := b.fill(ctx, s, history)
	if err != nil {
		return err
	}
	b.report.Growth = points
	tenth := max(1, history/10)
	first, last := rateWithin(points, 0, tenth), rateWithin(points, history-tenth, history)
	line := compare("growth", "events/s", []float64{last}, firstTenth, []float64{first})
	line.Note = fmt.Sprintf("the last tenth of %d events that were made without a pause, inserts included", history)
	b.add(line)
	b.memory("memory, long history", m.memory)
	var all rates
	err = all.take(m, nil)
	b.addCost("growth, all events", all)
	return err
}

// rateWithin returns the rate from the last point at or before from, to the first at or after to.
func rateWithin(points []GrowthPoint, from, to int) float64 {
	var begin, end GrowthPoint
	for _, p := range points {
		if p.Finished <= from {
			begin = p
		}
		if end = p; p.Finished >= to {
			break
		}
	}
	if end.Seconds <= begin.Seconds {
		return 0
	}
	return float64(end.Finished-begin.Finished) / (end.Seconds - begin.Seconds)
}

// drainHistories drains the same jobs on databases with few and with many finished jobs.
func (b *bench) drainHistories(ctx context.Context, short, long *scratch) error {
	if _, _, err := b.fill(ctx, short, min(shortHistory, b.cfg.Sizes.History)); err != nil {
		return err
	}
	var few, many rates
	drain := func(s *scratch, into *rates) func(int) error {
		return func(int) error {
			if err := into.take(b.through(ctx, s, b.cfg.Worker, toJobs, s.insertJobs)); err != nil {
				return err
			}
			return s.cleanUp(ctx)
		}
	}
	if err := errors.Join(short.cleanUp(ctx), long.cleanUp(ctx)); err != nil {
		return err
	}
	err := b.alternate(ctx, b.cfg.Sizes.Repetitions, "drain with a short and a long history", asItIs, drain(short, &few), drain(long, &many))
	if err != nil {
		return err
	}
	t, err := long.count(ctx)
	if err != nil {
		return err
	}
	m := compare("drain, long history", "jobs/s", many.rate, shortDrain, few.rate)
	m.Note = fmt.Sprintf("with %d finished jobs and %d instances", t.completed, t.instances)
	b.add(m)
	b.addCost("drain, short history", few)
	b.addCost("drain, long history", many)
	return nil
}

// fill makes n events without a pause: while events are composed, the next rows are in the outbox already. It returns the rates
// of its stretches, fifty in all, and what they used.
func (b *bench) fill(ctx context.Context, s *scratch, n int) (points []GrowthPoint, m measured, err error) {
	before, err := s.count(ctx)
	if err != nil {
		return nil, m, err
	}
	err = b.withWorker(ctx, s, func() error {
		if err := s.walk(ctx, b.cfg.Sizes.Warmup, s.insertRows); err != nil {
			return err
		}
		debug.FreeOSMemory()
		stop, err := b.watch(ctx, s)
		if err != nil {
			return err
		}
		memory := watchMemory(ctx)
		points, err = b.feed(ctx, s, n, max(1, n/50))
		m.memory, m.events = memory(), n
		if err != nil {
			return err
		}
		m.rate = rateWithin(points, 0, n)
		m.usage, err = stop()
		return err
	})
	if err != nil {
		return nil, m, err
	}
	return points, m, s.verify(ctx, before, b.cfg.Sizes.Warmup+n)
}

// feed inserts n rows, a stretch at a time, whenever fewer than stretchesAhead wait, until all events are done.
func (b *bench) feed(ctx context.Context, s *scratch, n, stretch int) (points []GrowthPoint, err error) {
	from, err := s.emitted(ctx)
	if err != nil {
		return nil, err
	}
	var last GrowthPoint
	began, moved := time.Now(), time.Now()
	for inserted, done := 0, 0; done < n; {
		if inserted < n && inserted-done < stretchesAhead*stretch {
			next := min(stretch, n-inserted)
			if err := s.insertRows(ctx, next); err != nil {
				return nil, err
			}
			inserted += next
			continue
		}
		if !retry.Pause(ctx, 5*time.Millisecond) {
			return nil, ctx.Err()
		}
		position, err := s.emitted(ctx)
		switch now := int(position - from); {
		case err != nil:
			return nil, err
		case now > done:
			done, moved = now, time.Now()
		case time.Since(moved) > stallsAfter:
			return nil, fmt.Errorf("no event was announced within %s, %d of %d were", stallsAfter, done, n)
		}
		if done/stretch == last.Finished/stretch && done < n {
			continue
		}
		point := GrowthPoint{Finished: done, Seconds: time.Since(began).Seconds(), RSS: residentMB()}
		point.Rate = float64(done-last.Finished) / (point.Seconds - last.Seconds)
		points, last = append(points, point), point
		b.step("history: %d of %d events", done, n)
	}
	return points, s.await(ctx, sent{n: n}, toEvents)
}
