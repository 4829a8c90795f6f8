package worker

import (
	"context"
	"math/rand/v2"
	"time"
)

// bell is a doorbell inside the process: rings that nobody waited for yet are one ring.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

// ring never blocks.
func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// pause waits for d or the end of ctx, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// backoff answers the wait before try n (from 1) to reach the database: doubling from 100 ms to 2 s, less up to
// a half at random. It stays short, since others take a silent worker for dead after some seconds.
func backoff(n int) time.Duration {
	wait := 2 * time.Second
	if n < 6 {
		wait = min(wait, 100*time.Millisecond<<max(n-1, 0))
	}
	return wait - rand.N(wait/2) //nolint:gosec // spreads load, guards nothing
}
