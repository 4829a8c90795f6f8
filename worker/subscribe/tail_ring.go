package subscribe

import "sort"

// ring is the last events of the history, in the order of their positions and without a gap.
type ring struct {
	most, mostBytes int

	known  bool   // where the events are
	after  Cursor // the place before the first
	end    mark   // the place after the last
	events []*Event
	bytes  int
}

func (r *ring) clear() {
	clear(r.events)
	r.known, r.events, r.bytes = false, nil, 0
}

// add adds what follows, drops what is too much, and reports whether anything is new to those who wait.
func (r *ring) add(p page) bool {
	if !r.known {
		r.known, r.after, r.end = true, p.Next, p.next()
		return true // what comes before is not here: who has yet to read it must hear that
	}
	for _, event := range p.Events {
		r.events = append(r.events, &event)
		r.bytes += len(event.JSON)
	}
	r.end = p.next()
	for len(r.events) > r.most || r.bytes > r.mostBytes {
		first := r.events[0]
		r.after = first.Cursor
		r.bytes -= len(first.JSON)
		r.events[0] = nil // the array behind the slice lives on
		r.events = r.events[1:]
	}
	return len(p.Events) > 0
}

// follows returns up to limit events after a position; false if some before them are not in the ring any more.
func (r *ring) follows(position int64, limit int) ([]*Event, bool) {
	if !r.known || position < r.after.Position {
		return nil, false
	}
	i := sort.Search(len(r.events), func(i int) bool { return r.events[i].Cursor.Position > position })
	return append([]*Event(nil), r.events[i:min(i+limit, len(r.events))]...), true
}
