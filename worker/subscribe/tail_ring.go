package subscribe

import "sort"

// ring holds the last events of the history, in the order of their positions and without a gap.
type ring struct {
	most, mostBytes int

	known  bool   // whether after and end are set
	after  Cursor // the place before the first event
	end    mark   // the place after the last event
	events []*Event
	bytes  int
}

func (r *ring) clear() {
	clear(r.events)
	r.known, r.events, r.bytes = false, nil, 0
}

// add appends a page, drops the oldest events beyond the limits, and reports whether followers must be woken.
func (r *ring) add(p page) bool {
	if !r.known {
		r.known, r.after, r.end = true, p.next.Cursor, p.next
		return true // followers that have yet to read earlier events must read them from the database
	}
	for _, event := range p.events {
		r.events = append(r.events, &event)
		r.bytes += len(event.JSON)
	}
	r.end = p.next
	for len(r.events) > r.most || r.bytes > r.mostBytes {
		first := r.events[0]
		r.after = first.Cursor
		r.bytes -= len(first.JSON)
		r.events[0] = nil // the array stays in memory, the event must not
		r.events = r.events[1:]
	}
	return len(p.events) > 0
}

// follows returns up to limit events after a position. It returns false if the ring no longer holds the first of them.
func (r *ring) follows(position int64, limit int) ([]*Event, bool) {
	if !r.known || position < r.after.Position {
		return nil, false
	}
	i := sort.Search(len(r.events), func(i int) bool { return r.events[i].Cursor.Position > position })
	return append([]*Event(nil), r.events[i:min(i+limit, len(r.events))]...), true
}
