package drill

import (
	"fmt"
	"math"

	"github.com/google/uuid"
)

// sequence is what a subscriber received, position by position.
type sequence struct {
	audit *audit
	who   *subscriber

	epoch int    // index of the one that it follows
	have  []bool // by position; those of a history that was lost are taken back
	first []receipt
	high  int64 // it has everything up to here
	jumps []jump
}

// jump is a receipt that came before earlier positions.
type jump struct {
	receipt

	above int64 // positions after this one were missing then
}

// subscriber checks that a subscriber received every position, each after all before it.
func (a *audit) subscriber(s *subscriber) {
	receipts, problems := s.received()
	for _, problem := range problems {
		a.add(Finding{Kind: Phantom, Who: s.name, Problem: problem})
	}
	q := &sequence{audit: a, who: s, have: make([]bool, a.facts.position+2), first: make([]receipt, a.facts.position+2)}
	for _, r := range receipts {
		q.take(r)
	}
	q.missing()
	q.order()
}

func (q *sequence) find(kind Kind, r receipt, format string, args ...any) {
	f := Finding{Kind: kind, Who: q.who.name, Problem: fmt.Sprintf(format, args...)}
	if r.event != uuid.Nil {
		f.Event = r.event.String()
	}
	if e := q.audit.record.events[r.event]; e != nil {
		f.Scenario = e.during
	}
	q.audit.add(f)
}

// take checks one receipt against the history as it is now.
func (q *sequence) take(r receipt) {
	f, at := q.audit.facts, -1
	for i, e := range f.epochs {
		if e.name == r.cursor.Epoch {
			at = i
		}
	}
	position := r.cursor.Position
	switch {
	case at < 0:
		q.find(Phantom, r, "it received %s, of an epoch that never was", r.cursor)
		return
	case position > f.until(at):
		q.audit.counts.Rewound++
		if !q.audit.mayRewind(at) {
			q.find(Phantom, r, "it received %s, which the present server does not know, although no commit may be lost", r.cursor)
		}
		return
	}
	if e, ok := q.audit.places[position]; ok && (e.cursor != r.cursor.String() || e.instance != r.instance) {
		q.find(Doubled, r, "it received instance %s as %s, and the history has another event there", r.instance, r.cursor)
		return
	}
	if at > q.epoch {
		q.rewind(f.until(q.epoch), f.epochs[at].after)
		q.epoch = at
	}
	if q.have[position] {
		q.audit.counts.Redelivered++
		if q.who.stream {
			q.find(Doubled, r, "it received %s twice, and had said what it has", r.cursor)
		}
		return
	}
	q.audit.counts.Received++
	q.have[position], q.first[position] = true, r
	if position > q.high+1 {
		q.jumps = append(q.jumps, jump{r, q.high})
	}
	for q.have[q.high+1] {
		q.high++
	}
}

// rewind takes back what came after the last common position.
func (q *sequence) rewind(common ...int64) {
	to := int64(math.MaxInt64)
	for _, position := range common {
		to = min(to, position)
	}
	for position := to + 1; position < int64(len(q.have)); position++ {
		q.have[position] = false
	}
	q.high = min(q.high, to)
}

// missing reports the positions that were never received.
func (q *sequence) missing() {
	end := q.audit.facts.position
	for position := int64(1); position <= end; position++ {
		if q.have[position] {
			continue
		}
		last := position
		for last < end && !q.have[last+1] {
			last++
		}
		r := receipt{}
		r.event = q.audit.places[position].event
		q.find(Gap, r, "it did not receive %s", span(position, last))
		position = last
	}
}

// order reports what was received after a later position. The processes of one consumer take turns, and the drill may read what
// the first of them wrote a little later.
func (q *sequence) order() {
	for _, j := range q.jumps {
		for position := j.above + 1; position < j.cursor.Position; position++ {
			r := q.first[position]
			if !q.have[position] || r.at.Before(j.at) || r.source != j.source && r.at.Sub(j.at) < lag {
				continue
			}
			q.find(OutOfOrder, r, "it received %s after %s", r.cursor, j.cursor)
		}
	}
}

// until returns the last position of an epoch.
func (f *facts) until(epoch int) int64 {
	if epoch+1 < len(f.epochs) {
		return f.epochs[epoch+1].after
	}
	return f.position
}

// mayRewind reports whether the failover that ended an epoch may have lost commits.
func (a *audit) mayRewind(epoch int) bool {
	return epoch < len(a.failovers) && a.failovers[epoch]
}
