package worker

import (
	"sync/atomic"
	"time"

	"github.com/iu-core/iuworker/internal/listen"
)

const (
	// idlePolls is how many times PollInterval a part sleeps while doorbells ring for whatever comes.
	idlePolls = 10

	// putOffFor is how long parts poll as often as without doorbells after a job was put off. It covers River's scheduler: a job that
	// is due within 5 s is available at once, and nothing rings when it is due.
	putOffFor = 10 * time.Second
)

// poll is how often a part reads its table if no doorbell rings.
type poll struct {
	interval time.Duration // while notifications may be missed
	idle     time.Duration // while there is a doorbell for whatever comes
	calm     *calm
}

// poll returns a part's poll from its interval.
func (r *running) poll(interval time.Duration) poll {
	return poll{interval: interval, idle: max(interval, idlePolls*r.cfg.PollInterval), calm: &r.calm}
}

// next returns how long to sleep after a look that found nothing and left nothing.
func (p poll) next() time.Duration {
	if p.calm.now() {
		return p.idle
	}
	return p.interval
}

// calm knows whether doorbells ring for all that happens, so that polling is hardly needed. Safe for concurrent use.
type calm struct {
	listener *listen.Listener // nil: polling by choice
	resumer  listen.Bell      // rings when the calm ends, also if that is because the listener was lost
	fetch    listen.Bell      // the same, for River's fetches
	putOffAt atomic.Pointer[time.Time]
}

// now reports whether the listener is connected, and no job was put off lately.
func (c *calm) now() bool {
	return c.listener != nil && c.listener.Up() && !c.putOffLately()
}

func (c *calm) putOffLately() bool {
	at := c.putOffAt.Load()
	return at != nil && time.Since(*at) < putOffFor
}

// putOff notes that a job was parked, which its gate's doorbell may have come too early for, or is to be tried again soon, or that
// River failed to fetch jobs.
func (c *calm) putOff() {
	before, at := c.putOffLately(), time.Now()
	c.putOffAt.Store(&at)
	if !before {
		c.resumer.Ring() // from now on it polls more often
		c.fetch.Ring()
	}
}
