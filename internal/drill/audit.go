package drill

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/iu-core/iuworker/internal/scratch"
)

// Kind is what is wrong.
type Kind string

// The kinds of findings.
const (
	Lost       Kind = "lost"         // an event that was acknowledged led to nothing, or to less than an instance
	Doubled    Kind = "doubled"      // it led to more than it should, or a place in the history has two events
	OutOfOrder Kind = "out of order" // a subscriber received it before an earlier one
	Gap        Kind = "gap"          // it was not announced, or a subscriber did not receive it
	Phantom    Kind = "phantom"      // something was composed or received that nobody committed
	Stuck      Kind = "stuck"        // it did not recover in time
	Crashed    Kind = "crash"        // a process ended by a fault of its own
	Unverified Kind = "verify"       // iuworker verify found it
)

// Finding is something that is wrong.
type Finding struct {
	Kind     Kind   `json:"kind"`
	Event    string `json:"event,omitempty"`    // the event's id
	Scenario string `json:"scenario,omitempty"` // that ran when the event was acknowledged, or that failed
	Who      string `json:"who,omitempty"`      // the subscriber
	Problem  string `json:"problem"`
}

// Counts are what the audit compared.
type Counts struct {
	Events      int `json:"events"` // that were acknowledged and that a server was left to know
	Instances   int `json:"instances"`
	Announced   int `json:"announced"`
	DeadLetters int `json:"dead_letters"`
	Undone      int `json:"undone"`      // instances that the operator rolled back
	Received    int `json:"received"`    // by all subscribers, each event once
	Redelivered int `json:"redelivered"` // to consumers, which may happen after a crash
	Rewound     int `json:"rewound"`     // receipts whose history was lost by a failover
}

// audit compares the drill's own record with the database and with what subscribers received.
type audit struct {
	facts       *facts
	record      *record
	subscribers []*subscriber
	undone      int64  // instances that the operator rolled back, by the function's own count
	failovers   []bool // in their order; true: it may have lost commits

	places   map[int64]emission // by position
	findings []Finding
	counts   Counts
}

func (a *audit) add(f Finding) { a.findings = append(a.findings, f) }

func (a *audit) run() []Finding {
	a.record.mu.Lock()
	defer a.record.mu.Unlock()
	a.places = make(map[int64]emission, len(a.facts.emissions))
	for _, e := range a.facts.emissions {
		a.places[e.position] = e
	}
	missing, maybe := 0, 0 // instances of events that the operator may have rolled back
	for _, e := range a.record.order {
		a.event(e)
		if e.kind == undone && !e.reverted && len(a.facts.instances[e.id]) == 0 {
			switch e.fate {
			case acknowledged:
				missing++
			case unknown:
				maybe++
			}
		}
	}
	if n := int(a.undone); n < missing || n > missing+maybe {
		a.add(Finding{Kind: Lost, Problem: fmt.Sprintf(
			"the operator rolled back %d instances of %s, and %d of its events have none", n, actorUndo, missing)})
	}
	a.counts.Undone = int(a.undone)
	a.strangers()
	a.announcements()
	for _, s := range a.subscribers {
		a.subscriber(s)
	}
	return a.findings
}

// event checks what became of one event.
func (a *audit) event(e *event) {
	instances, letters := a.facts.instances[e.id], a.facts.deadLetters[e.id]
	report := func(kind Kind, format string, args ...any) {
		a.add(Finding{Kind: kind, Event: e.id.String(), Scenario: e.during, Problem: fmt.Sprintf(format, args...)})
	}
	a.counts.Instances += len(instances)
	a.counts.DeadLetters += len(letters)
	if len(instances) > 1 {
		report(Doubled, "it has %d instances", len(instances))
	}
	if len(letters) > 1 {
		report(Doubled, "it has %d dead letters", len(letters))
	}
	for _, i := range instances {
		if i.key != "tpl-inst:auto:"+e.suffix {
			report(Lost, "its instance %s has the key %q", i.id, i.key)
		}
		if i.pieces != scratch.Pieces {
			report(Lost, "its instance %s has %d pieces of %d", i.id, i.pieces, scratch.Pieces)
		}
	}
	known := len(instances) + len(letters)
	switch {
	case e.fate == unsent || e.fate == refused || e.fate == acknowledged && e.reverted:
		if known > 0 || a.facts.unfinished[e.id] != "" {
			report(Phantom, "it was never committed, and has %d instances and %d dead letters", len(instances), len(letters))
		}
		return
	case e.fate == unknown && known == 0:
		return
	}
	if e.fate == acknowledged {
		a.counts.Events++
	}
	if where := a.facts.unfinished[e.id]; where != "" && known == 0 {
		report(Stuck, "it is still %s", where)
		return
	}
	a.outcome(e, instances, letters, report)
}

// outcome checks that an event that was committed led to what its kind demands.
func (a *audit) outcome(e *event, instances []instance, letters []string, report func(Kind, string, ...any)) {
	letter := strings.Join(letters, ", ")
	switch e.kind {
	case live, dryRun:
		switch {
		case len(letters) > 0 && len(instances) == 0:
			report(Lost, "it has a dead letter and no instance: %s", letter)
		case len(letters) > 0:
			report(Doubled, "it has an instance, and a dead letter: %s", letter)
		case len(instances) == 0:
			report(Lost, "it has no instance, no job, no dead letter and no row in the outbox")
		}
	case poison:
		switch {
		case len(instances) > 0:
			report(Phantom, "it has no template, and has an instance")
		case letter != "template_not_found":
			report(Lost, "it should have a dead letter that says template_not_found, and has %q", letter)
		}
	case rival:
		both := len(instances) + len(a.facts.instances[e.rival.id])
		switch {
		case both == 0:
			report(Lost, "neither it nor event %s, which wanted the same instance key, has an instance", e.rival.id)
		case both > 1:
			report(Doubled, "it and event %s have one instance key and %d instances", e.rival.id, both)
		case len(instances) == 0 && letter != "instance_key_conflict":
			report(Lost, "it should have a dead letter that says instance_key_conflict, and has %q", letter)
		}
	case undone:
		if len(letters) > 0 {
			report(Lost, "it has a dead letter: %s", letter)
		}
	case abandoned:
		report(Phantom, "its transaction was rolled back, and it was committed")
	}
}

// strangers checks that nothing was composed for events that the drill did not insert.
func (a *audit) strangers() {
	for id, instances := range a.facts.instances {
		if a.record.events[id] == nil {
			a.add(Finding{Kind: Phantom, Event: id.String(), Problem: fmt.Sprintf("nobody inserted it, and it has %d instances", len(instances))})
		}
	}
}

// announcements checks that each live instance is announced once, and that positions have no gaps.
func (a *audit) announcements() {
	announced := map[uuid.UUID]int{}
	next := int64(1)
	for _, e := range a.facts.emissions {
		announced[e.instance]++
		report := func(kind Kind, format string, args ...any) {
			a.add(Finding{Kind: kind, Event: e.event.String(), Problem: fmt.Sprintf(format, args...)})
		}
		if e.position == 0 {
			report(Stuck, "its instance %s is not announced yet", e.instance)
			continue
		}
		a.counts.Announced++
		switch {
		case e.position < next:
			report(Doubled, "position %d was given twice", e.position)
		case e.position > next:
			report(Gap, "no event has %s", span(next, e.position-1))
		}
		next = e.position + 1
		if !e.rolledBack && !a.has(e.event, e.instance, "live") {
			report(Phantom, "position %d announces instance %s, which is not in the log as a live one", e.position, e.instance)
		}
		if known := a.record.events[e.event]; e.rolledBack && (known == nil || known.kind != undone) {
			report(Phantom, "position %d is marked as rolled back, and nobody did that", e.position)
		}
	}
	if next <= a.facts.position {
		a.add(Finding{Kind: Gap, Problem: "no event has " + span(next, a.facts.position)})
	}
	for id, instances := range a.facts.instances {
		for _, i := range instances {
			due := 0
			if i.mode == "live" {
				due = 1
			}
			if n := announced[i.id]; n < due {
				a.add(Finding{Kind: Gap, Event: id.String(), Problem: fmt.Sprintf("its instance %s was never announced", i.id)})
			} else if n > due {
				a.add(Finding{Kind: Doubled, Event: id.String(), Problem: fmt.Sprintf("its instance %s was announced %d times", i.id, n)})
			}
		}
	}
}

func (a *audit) has(event, id uuid.UUID, mode string) bool {
	for _, i := range a.facts.instances[event] {
		if i.id == id && i.mode == mode {
			return true
		}
	}
	return false
}

// span names positions.
func span(from, to int64) string {
	if from == to {
		return fmt.Sprintf("position %d", from)
	}
	return fmt.Sprintf("positions %d to %d", from, to)
}

// lag is how much later the drill may read what one process of a consumer wrote before another.
const lag = 5 * time.Second
