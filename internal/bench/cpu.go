package bench

import (
	"fmt"
	"time"
)

// cost is the CPU time of a measurement.
type cost struct {
	server time.Duration
	client time.Duration // the worker and this measuring, or pgbench
}

// meter measures costs. Those of the server are 0 if postmaster is 0: it runs elsewhere, or the system does not say.
type meter struct{ postmaster int }

// start returns what to call at the end. That returns nil if something could not be read.
func (m meter) start() (stop func() *cost) {
	before, err := m.read()
	return func() *cost {
		after, errAfter := m.read()
		if err != nil || errAfter != nil {
			return nil
		}
		return &cost{server: after.server - before.server, client: after.client - before.client}
	}
}

func (m meter) read() (c cost, err error) {
	if m.postmaster != 0 {
		if c.server, err = serverCPU(m.postmaster); err != nil {
			return c, err
		}
	}
	c.client, err = ownCPU()
	return c, err
}

// costs are those of several measurements, in microseconds per event.
type costs struct{ total, server, client []float64 }

func (c *costs) add(cost *cost, events int) {
	if cost == nil || cost.server == 0 || events == 0 {
		return
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(events) }
	c.total = append(c.total, each(cost.server+cost.client))
	c.server = append(c.server, each(cost.server))
	c.client = append(c.client, each(cost.client))
}

// compareCosts adds a line, if there is something to compare.
func (b *bench) compareCosts(name string, ours costs, reference string, theirs costs) {
	if len(ours.total) == 0 || len(theirs.total) == 0 {
		return
	}
	m := compare(name+", CPU", "us/event", ours.total, reference, theirs.total, nil)
	m.Note = fmt.Sprintf("server %.0f + worker %.0f us; the reference's server %.0f + client %.0f us",
		sampleOf(ours.server).Median, sampleOf(ours.client).Median, sampleOf(theirs.server).Median, sampleOf(theirs.client).Median)
	b.add(m)
}
