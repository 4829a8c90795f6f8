package drill

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

// kind is what must become of an event.
type kind int

const (
	live      kind = iota // one instance, announced once
	dryRun                // one instance, never announced
	poison                // no instance, and one dead letter
	rival                 // of the two that want one instance key, one gets it, and the other becomes a dead letter
	undone                // one instance, until the operator rolls back its actor
	abandoned             // nothing: its transaction is rolled back
)

// fate is what the application knows about the commit of an event.
type fate int

const (
	unsent       fate = iota
	refused           // the transaction failed before its commit
	acknowledged      // the server confirmed the commit
	unknown           // the connection broke during the commit
)

// event is what the drill remembers of an event that it inserted.
type event struct {
	id     uuid.UUID
	suffix string
	kind   kind
	actor  string
	rival  *event // of the kind rival: the other one

	// record.mu guards these.
	fate     fate
	at       time.Time // when the commit was acknowledged, or its outcome became unknown
	during   string    // the scenario that ran then
	received uint64    // a bit for each subscriber
	reverted bool      // the server that acknowledged it is gone, and its successor never had it
}

// settled reports whether an event has been received by all who must get it.
func (e *event) settled(all uint64) bool {
	return e.kind != live || e.fate != acknowledged || e.reverted || e.received == all
}

// record holds every event that was inserted. Safe for concurrent use.
type record struct {
	mu       sync.Mutex
	events   map[uuid.UUID]*event
	order    []*event
	oldest   int // all events before this index are settled
	scenario string
	all      uint64 // a bit for each subscriber
	slowest  time.Duration
	newest   time.Time // when the youngest event was acknowledged that all have received
	counts   Load
}

// Load counts what the drill sent.
type Load struct {
	Acknowledged int `json:"acknowledged"` // events whose commit was confirmed
	Unknown      int `json:"unknown"`      // events whose commit has an unknown outcome
	Duplicates   int `json:"duplicates"`   // rows for an event that was sent before
	DryRuns      int `json:"dry_runs"`
	Poison       int `json:"poison"`
	RolledBack   int `json:"rolled_back"` // events whose transaction the application rolled back
	Failed       int `json:"failed"`      // transactions that failed before their commit
	Reverted     int `json:"reverted"`    // acknowledged by a server that was replaced by one that had not received them
}

func newRecord(subscribers int) *record {
	return &record{events: map[uuid.UUID]*event{}, all: 1<<subscribers - 1}
}

// add remembers events before they are sent.
func (r *record) add(events ...*event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		r.events[e.id] = e
		r.order = append(r.order, e)
	}
}

// ended notes the outcome of a transaction.
func (r *record) ended(outcome fate, duplicates bool, events ...*event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case outcome == refused:
		r.counts.Failed++
		for _, e := range events {
			if e.fate == unsent {
				e.fate = refused
			}
		}
		return
	case duplicates && outcome == acknowledged:
		r.counts.Duplicates += len(events)
	}
	for _, e := range events {
		if e.fate == acknowledged && !e.reverted {
			continue
		}
		e.fate, e.at, e.during = outcome, time.Now(), r.scenario
		if outcome == unknown {
			r.counts.Unknown++
			continue
		}
		e.reverted = false
		r.delivered(e)
		r.counts.Acknowledged++
		switch e.kind {
		case dryRun:
			r.counts.DryRuns++
		case poison:
			r.counts.Poison++
		}
	}
}

// gaveUp notes that the application rolled a transaction back.
func (r *record) gaveUp(events ...*event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		e.fate = refused
	}
	r.counts.RolledBack += len(events)
}

// received notes that a subscriber has an event.
func (r *record) received(id uuid.UUID, subscriber int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.events[id]
	if e == nil || e.received == r.all {
		return
	}
	e.received |= 1 << subscriber
	if e.received == r.all && e.fate == acknowledged && e.kind == live {
		r.slowest = max(r.slowest, time.Since(e.at))
		r.delivered(e)
	}
}

// delivered notes that all have received an event, if they have.
func (r *record) delivered(e *event) {
	if e.kind == live && e.received == r.all && e.at.After(r.newest) {
		r.newest = e.at
	}
}

// deliversSince reports whether an event was delivered to all that was acknowledged after a moment.
func (r *record) deliversSince(then time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest.After(then)
}

// begin notes which scenario runs from now on, and returns how much was sent before.
func (r *record) begin(scenario string) Load {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scenario, r.slowest = scenario, 0
	return r.counts
}

// pending returns the number of live events that were acknowledged until then and that somebody has not received.
func (r *record) pending(until time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.oldest < len(r.order) && r.order[r.oldest].fate != unsent && r.order[r.oldest].settled(r.all) {
		r.oldest++
	}
	for _, e := range r.order[r.oldest:] {
		if !e.settled(r.all) && !e.at.After(until) {
			n++
		}
	}
	return n
}

func (r *record) load() Load {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

func (r *record) slowestDelivery() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.slowest
}

// pendingBetween returns the number of live events that were acknowledged in that time and that somebody has not received.
func (r *record) pendingBetween(from, until time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.order[r.oldest:] {
		if !e.settled(r.all) && e.at.After(from) && !e.at.After(until) {
			n++
		}
	}
	return n
}

// revert notes which of the events that were acknowledged since then a new primary never received.
func (r *record) revert(since time.Time, survived *facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.order {
		if e.fate != acknowledged || e.reverted || e.at.Before(since) ||
			len(survived.instances[e.id])+len(survived.deadLetters[e.id]) > 0 || survived.unfinished[e.id] != "" {
			continue
		}
		e.reverted, e.received = true, 0
		r.counts.Reverted++
	}
}
