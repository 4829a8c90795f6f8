package compose

import (
	"sync"
	"time"
)

const (
	// probeEvery is how often one job is tried while a fault holds all others back.
	probeEvery = 2 * time.Second
	// suspectFor is how long nothing must be composed after a failure until the installation counts as its cause: while others
	// are composed, the cause may be one template, or a foreign trigger.
	suspectFor = 500 * time.Millisecond
)

// Hold knows whether a fault of the installation keeps this process from composing. While one does, jobs are held back, except for
// one every few seconds, which finds out whether the fault is over. The zero value knows of no fault. Safe for concurrent use.
//
//	well -> suspected  a job failed, perhaps by a fault of the installation; that job alone is held back
//	suspected -> held  another job failed so, and none was composed meanwhile; all are held back
//	any -> well        a job was composed, or no job is held back any more
type Hold struct {
	// Began is called when a fault begins to hold all jobs back, Ended when that is over. Default: no call.
	Began func(Fault)
	Ended func(f Fault, after time.Duration)

	mu     sync.Mutex
	fault  *Fault    // of a hold
	since  time.Time // of the suspicion; zero: all is well
	probed time.Time
}

// Now returns the fault that holds all jobs back, nil if there is none.
func (h *Hold) Now() *Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fault
}

// Well reports whether no fault is suspected.
func (h *Hold) Well() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since.IsZero()
}

// try returns nil if a job may be tried: there is no fault, or it is time to find out whether it is over.
func (h *Hold) try() *Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault != nil && time.Since(h.probed) < probeEvery {
		return h.fault
	}
	h.probed = time.Now()
	return nil
}

// met notes a failure by a fault.
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

// Over ends the suspicion and the hold.
func (h *Hold) Over() {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, since := h.fault, h.since
	h.fault, h.since = nil, time.Time{}
	if was != nil && h.Ended != nil {
		h.Ended(*was, time.Since(since))
	}
}

// Idle reports whether no job was tried for so long that the fault may be over unnoticed.
func (h *Hold) Idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.since.IsZero() && time.Since(h.probed) > 5*probeEvery
}
