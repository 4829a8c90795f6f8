package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is how long to wait between tries: First after the first failure, then twice as long each time, up to Longest.
type Backoff struct{ First, Longest time.Duration }

var (
	// Reconnect is for reaching the database. It stays short, because a worker that does not renew its lease loses it.
	Reconnect = Backoff{First: 100 * time.Millisecond, Longest: 2 * time.Second}
	// Work is for work that fails while the database is reachable.
	Work = Backoff{First: 100 * time.Millisecond, Longest: time.Minute}
)

// Wait returns the wait after failure number n, from 1: up to a half less than the full one, at random, so that those who
// failed together do not try again together.
func (b Backoff) Wait(n int) time.Duration {
	wait := b.Longest
	if doublings := max(n-1, 0); doublings < 30 {
		wait = min(wait, b.First<<doublings)
	}
	return wait - rand.N(wait/2+1) //nolint:gosec // spreads load, guards nothing
}

// Pause waits for d or the end of ctx, and reports whether ctx goes on.
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
