package drill

import (
	"context"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

const longerThanLeases = 12 * time.Second // a worker's lease lasts 8 s, a consumer's 5 s

// between returns a random duration.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// children returns the processes of workers, consumers and stream clients.
func (d *drill) children() (all []*process) {
	for _, w := range d.workers {
		all = append(all, w.process)
	}
	return slices.Concat(all, d.consumers, d.streams)
}

func killWorkers(ctx context.Context, d *drill, rng *rand.Rand) error {
	for range 4 {
		all := d.children()
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, p := range all[:1+rng.IntN(len(all))] {
			p.signal(syscall.SIGKILL)
		}
		if !d.pause(ctx, between(rng, 200*time.Millisecond, 2*time.Second)) {
			break
		}
	}
	return nil
}

func restartLoop(ctx context.Context, d *drill, rng *rand.Rand) error {
	for range 10 {
		all := d.children()
		p := all[rng.IntN(len(all))]
		p.signal(syscall.SIGTERM)
		wait := between(rng, 100*time.Millisecond, 1500*time.Millisecond)
		if !d.pause(ctx, wait) {
			break
		}
		if rng.IntN(4) == 0 {
			p.signal(syscall.SIGKILL)
		}
	}
	return nil
}

// suspend stops one worker and one process of the consumer that has two, so that others take over, and a stream client. They find
// out when they continue.
func suspend(ctx context.Context, d *drill, rng *rand.Rand) error {
	stopped := []*process{d.workers[rng.IntN(len(d.workers))].process, d.consumers[rng.IntN(2)], d.streams[rng.IntN(len(d.streams))]}
	for _, p := range stopped {
		p.signal(syscall.SIGSTOP)
	}
	d.pause(ctx, longerThanLeases+between(rng, 0, 4*time.Second))
	for _, p := range stopped {
		p.signal(syscall.SIGCONT)
	}
	return nil
}
