package worker

import (
	"sync/atomic"
	"time"
)

// clock is the server's clock, as far as this machine can tell: every time that goes into the database, or is compared
// with one that came out of it, is by one clock, however wrong those of the machines are. It implements
// rivertype.TimeGenerator. Safe for concurrent use.
type clock struct{ ahead atomic.Int64 } // by how many nanoseconds the server's clock is ahead of this machine's

// Now returns the server's time. It keeps the monotonic reading of this machine's, for what is measured by two of them.
func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// NowOrNil returns nil, so that River uses the server's time wherever it can.
func (*clock) NowOrNil() *time.Time { return nil }

// set takes in that the server's clock was at server at some time between two moments of this machine's. What agrees
// with that already stays: it would only be set to and fro by the length of a round trip.
func (c *clock) set(server, from, to time.Time) {
	took := to.Sub(from)
	ahead := server.Sub(from.Add(took / 2))
	if off := ahead - time.Duration(c.ahead.Load()); off.Abs() > max(took, time.Millisecond) {
		c.ahead.Store(int64(ahead))
	}
}
