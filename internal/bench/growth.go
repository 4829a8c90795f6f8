package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	shortHistory = 10_000
	stretch      = 20_000 // events at a time, to make the long history
)

// growth measures whether a long history slows the worker down: it drains the same jobs on databases with few and with many
// finished jobs.
func (b *bench) growth(ctx context.Context) (err error) {
	short, err := createScratch(ctx, b.cfg.Server, b.cfg.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, short.drop(ctx)) }()
	if _, _, err := b.fill(ctx, short, min(shortHistory, b.cfg.Sizes.History)); err != nil {
		return err
	}
	points, memory, err := b.fill(ctx, b.main, b.cfg.Sizes.History)
	if err != nil {
		return err
	}
	b.report.Growth = points
	var few, many rates
	drain := func(s *scratch, into *rates) func(int) error {
		return func(int) error {
			if err := into.take(b.through(ctx, s, toJobs, s.insertJobs)); err != nil {
				return err
			}
			return s.cleanUp(ctx)
		}
	}
	err = b.alternate(ctx, b.cfg.Sizes.Repetitions, "drain with a short and a long history", asItIs, drain(short, &few), drain(b.main, &many))
	if err != nil {
		return err
	}
	t, err := b.main.count(ctx)
	if err != nil {
		return err
	}
	const reference = "the same drain with about 10,000 finished jobs"
	m := compare("growth", "jobs/s", many.rate, reference, few.rate, atLeast(0.85, 0.95))
	m.Note = fmt.Sprintf("with %d finished jobs and %d instances", t.completed, t.instances)
	b.add(m)
	b.compareCosts("growth", many.costs, reference, few.costs)
	b.memory("memory, long history", memory)
	return nil
}

// fill sends events until a number of jobs has finished. It returns the rates, which include the inserts, and the memory.
func (b *bench) fill(ctx context.Context, s *scratch, jobs int) (points []GrowthPoint, memory []float64, err error) {
	t, err := s.count(ctx)
	if err != nil || t.completed >= jobs {
		return nil, nil, err
	}
	err = b.withWorker(ctx, s, func() error {
		debug.FreeOSMemory()
		stop := watchMemory(ctx)
		defer func() { memory = stop() }()
		began := time.Now()
		for done := t.completed; done < jobs; {
			b.step("history: %d of %d finished jobs", done, jobs)
			n, start := min(stretch, jobs-done), time.Now()
			if err := s.walk(ctx, n, s.insertRows); err != nil {
				return err
			}
			done += n
			points = append(points, GrowthPoint{
				Finished: done, Seconds: time.Since(began).Seconds(), Rate: float64(n) / time.Since(start).Seconds(), RSS: residentMB(),
			})
		}
		return nil
	})
	return points, memory, err
}
