package listen

import (
	"sync/atomic"
	"time"
)

// A bell rings ringBurst times at once, and then every ringInterval at most. Any login may send notifications, as many
// as it likes, and each ring costs its hearer a look into a table. Bells that ring for events stay below: rows that
// come fast are gathered.
const (
	ringInterval = 5 * time.Millisecond
	ringBurst    = 100
)

// paced is a bell that rings at most so often; a ring beyond that comes late, and is not lost. ring is called by one
// goroutine at a time.
type paced struct {
	bell   Bell
	wanted func(payload string) bool
	paid   time.Time   // until when the rings so far have used up what ringInterval allows
	late   atomic.Bool // a ring is to come
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
		p.late.Store(false) // before the ring: what comes from now on needs one of its own
		p.bell.Ring()
	})
}
