package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is exponential: the wait is First after the first failure, and doubles with each further failure up to Longest.
type Backoff struct{ First, Longest time.Duration }

var (
	// Reconnect is for connections. Its waits stay short, because a worker that does not renew its lease loses it.
	Reconnect = Backoff{First: 100 * time.Millisecond, Longest: 2 * time.Second}
	// Work is for work that fails while the database is reachable.
	Work = Backoff{First: 100 * time.Millisecond, Longest: time.Minute}
)

// Wait returns the wait after failure number n, counted from 1. Jitter shortens it by up to half, so that clients that failed
// together do not retry together.
func (b Backoff) Wait(n int) time.Duration {
	wait := b.Longest
	if doublings := max(n-1, 0); doublings < 30 {
		wait = min(wait, b.First<<doublings)
	}
	return wait - rand.N(wait/2+1) //nolint:gosec // spreads load, guards nothing
}

// Pause waits for d. It returns false at once if ctx ends before that.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
