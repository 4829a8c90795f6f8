package worker

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/listen"
)

// backlog composes the events of jobs that wait in a queue, up to 500 in one transaction, which completes the jobs as well. That costs
// a job two thirds of what it costs if River fetches, works and completes it. It begins when River has fetched as many jobs as it may. Until
// it ends River fetches none from the queue; River then fetches what is left: jobs that have failed before, and those that
// cannot be composed at once.
type backlog struct {
	logger *slog.Logger
	queue  string
	work   *compose.Worker
	by     func() compose.Incarnation
	lanes  int         // transactions at once
	full   listen.Bell // rung after a fetch that found as many jobs as it may
	fetch  listen.Bell // makes River fetch
	active atomic.Bool
}

// run waits for the bell and composes what waits, until ctx ends.
func (b *backlog) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.full:
			b.compose(ctx)
		}
	}
}

func (b *backlog) compose(ctx context.Context) {
	b.active.Store(true)
	defer b.fetch.Ring()
	defer b.active.Store(false)
	ctx, end := context.WithCancel(ctx)
	defer end()
	var lanes sync.WaitGroup
	for range b.lanes {
		lanes.Go(func() {
			defer end() // for all: one that is left would go on alone
			for ctx.Err() == nil {
				completed, err := b.work.ComposeReady(context.WithoutCancel(ctx), b.by(), b.queue)
				if err != nil {
					b.logger.InfoContext(ctx, "Jobs: could not compose jobs at once; River works them", slog.String("queue", b.queue),
						slog.String("error", err.Error()))
				}
				if completed < compose.MaxBatch/2 { // few are left, or most of what is first cannot be composed at once
					return
				}
			}
		})
	}
	lanes.Wait()
}
