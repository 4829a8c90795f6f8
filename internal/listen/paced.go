package listen

import (
	"sync/atomic"
	"time"
)

// A bell rings ringBurst times without a delay, and then at most once per ringInterval: any login can send any number of
// notifications, and each ring costs a query. Bells that ring for events stay below these limits, because rows are processed
// in batches.
const (
	ringInterval = 5 * time.Millisecond
	ringBurst    = 100
)

// paced is a bell whose rate is limited: a ring above the limit is delayed, not lost. Only one goroutine at a time may call
// ring.
type paced struct {
	bell   Bell
	wanted func(payload string) bool
	paid   time.Time   // when the next ring would be due if each waited for ringInterval
	late   atomic.Bool // whether a delayed ring is pending
}

func (p *paced) ring() {
	if p.late.Load() {
		return
	}
	now := time.Now()
	if p.paid.Before(now) {
		p.paid = now
	}
	p.paid = p.paid.Add(ringInterval)
	wait := p.paid.Sub(now) - ringBurst*ringInterval
	if wait <= 0 {
		p.bell.Ring()
		return
	}
	p.late.Store(true)
	time.AfterFunc(wait, func() {
		p.late.Store(false) // before the ring: later notifications need another one
		p.bell.Ring()
	})
}
