package compose

import (
	"sync"
	"time"
)

const (
	// probeEvery is how often one job is tried while a fault of the installation holds all others back.
	probeEvery = 2 * time.Second
	// suspectFor is how long nothing was composed after the first failure when it counts as the installation's: while
	// others are composed it may be that of one template, or of a trigger of somebody else.
	suspectFor = 500 * time.Millisecond
)

// Hold is what this process knows of a fault of the installation that keeps it from composing: while there is one, jobs
// are held back, but one now and then, which finds out when it is over. Its zero value knows of none. Safe for
// concurrent use.
//
//	well -> suspected  a job failed by what may be the installation's fault; it alone is held back
//	suspected -> held  another one failed so, and none was composed meanwhile; all are held back
//	any -> well        a job was composed, or none is held back any more
type Hold struct {
	// Began is called once with a fault that begins to hold all jobs back; Ended when a job is composed again. Default: no call.
	Began func(Fault)
	Ended func(f Fault, after time.Duration)

	mu     sync.Mutex
	fault  *Fault    // of a hold
	since  time.Time // of the suspicion; zero: all is well
	probed time.Time
}

// Now returns the fault that holds all jobs back; nil: none is known.
func (h *Hold) Now() *Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fault
}

// Well reports whether there is not even a suspicion.
func (h *Hold) Well() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since.IsZero()
}

// try returns nil if a job may be tried: there is no fault, or it is time to ask whether it is over.
func (h *Hold) try() *Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault != nil && time.Since(h.probed) < probeEvery {
		return h.fault
	}
	h.probed = time.Now()
	return nil
}

// met notes a failure.
func (h *Hold) met(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() {
		h.since = time.Now()
		return
	}
	if h.fault == nil && time.Since(h.since) >= suspectFor {
		h.fault = &f
		if h.Began != nil {
			h.Began(f)
		}
	}
}

// Over ends suspicion and hold.
func (h *Hold) Over() {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, since := h.fault, h.since
	h.fault, h.since = nil, time.Time{}
	if was != nil && h.Ended != nil {
		h.Ended(*was, time.Since(since))
	}
}

// Idle reports that no job was tried for so long that the fault may be over without anybody having noticed.
func (h *Hold) Idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.since.IsZero() && time.Since(h.probed) > 5*probeEvery
}
