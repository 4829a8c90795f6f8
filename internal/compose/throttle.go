package compose

import (
	"context"
	"math"

	"golang.org/x/time/rate"
)

// Throttle bounds how many events per second some Batchers compose together. Safe for concurrent use.
type Throttle struct {
	limiter *rate.Limiter
	lifted  context.Context //nolint:containedctx // ends when there is no limit any more
	lift    context.CancelFunc
}

// NewThrottle returns a Throttle of perSecond events. 0 means no limit.
func NewThrottle(perSecond int) *Throttle {
	t := &Throttle{limiter: rate.NewLimiter(rate.Inf, math.MaxInt)}
	if perSecond > 0 {
		// A burst of a tenth of a second keeps the batches of a high rate large and the stream of events smooth.
		t.limiter = rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond/10))
	}
	t.lifted, t.lift = context.WithCancel(context.Background())
	return t
}

// limited reports whether there is a limit.
func (t *Throttle) limited() bool { return t.limiter.Limit() != rate.Inf && t.lifted.Err() == nil }

// Lift ends the limit, also for those who wait.
func (t *Throttle) Lift() { t.lift() }

// Jobs returns how many of most jobs of a queue to work at once: as many as the rate allows in two seconds, at least one. So
// none of them waits for so long that its job times out, although other queues and retries get their share of the rate.
func (t *Throttle) Jobs(most int) int {
	if t.limiter.Limit() == rate.Inf {
		return most
	}
	return min(most, max(1, int(2*t.limiter.Limit())))
}

// most returns how many events a batch may have.
func (t *Throttle) most() int { return min(MaxBatch, t.limiter.Burst()) }

// wait waits until n events may be composed.
func (t *Throttle) wait(n int) {
	_ = t.limiter.WaitN(t.lifted, n) // fails only if the limit is lifted
}
