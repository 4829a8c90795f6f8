package listen

import (
	"context"
	"time"
)

// Bell wakes a goroutine that waits for it: receive from it, or call Wait. Rings before the next receive count as one. Safe
// for concurrent use.
type Bell chan struct{}

// NewBell returns a bell that has not rung.
func NewBell() Bell { return make(Bell, 1) }

// Ring rings the bell. It never blocks.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// Wait waits for a ring, at most for d or until ctx ends, and reports whether the bell rang.
func (b Bell) Wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-b:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}
