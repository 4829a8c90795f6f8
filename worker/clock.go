package worker

import (
	"sync/atomic"
	"time"
)

// clock is the server's clock, as well as this machine knows it. Every time that is written to the database, or compared with one
// of the database, is of this one clock, however wrong the machines' clocks are. It implements rivertype.TimeGenerator. Safe for
// concurrent use.
type clock struct{ ahead atomic.Int64 } // by how many nanoseconds the server's clock is ahead of this machine's

// Now returns the server's time, with the monotonic reading of this machine's clock, so that differences are exact.
func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// NowOrNil returns nil, so that River uses the server's time wherever it can.
func (*clock) NowOrNil() *time.Time { return nil }

// set sets the clock: the server's was at server at some time between from and to of this machine's. It keeps a setting that agrees
// with that, which would only move to and fro by the length of a round trip.
func (c *clock) set(server, from, to time.Time) {
	took := to.Sub(from)
	ahead := server.Sub(from.Add(took / 2))
	if off := ahead - time.Duration(c.ahead.Load()); off.Abs() > max(took, time.Millisecond) {
		c.ahead.Store(int64(ahead))
	}
}
