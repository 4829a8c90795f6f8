package listen

import (
	"context"
	"time"
)

// Bell is a doorbell inside the process: rings that nobody waited for yet are one ring. Receive from it to wait. Safe
// for concurrent use.
type Bell chan struct{}

// NewBell makes a bell that has not rung.
func NewBell() Bell { return make(Bell, 1) }

// Ring never blocks.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// Wait waits for a ring, for d, or for the end of ctx.
func (b Bell) Wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-b:
	case <-timer.C:
	}
}
