package subscribe

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/listen"
)

const (
	// followPage is how many events a follower is given at once, at most: what is held in memory for each of them.
	followPage = 100

	resolveTimeout = 10 * time.Second
)

// Follower is a place in the history that moves on with the tail. Not safe for concurrent use.
type Follower struct {
	tail      *Tail
	filter    Filter
	templates []string
	closed    sync.Once

	at       mark
	history  int  // of the tail, which at belongs to
	behind   bool // the database has events after it that the tail need not have
	failures int  // to read them, since it last worked
}

// Cursor is where the follower is: after the last event that Next answered, and after what the filter left out since.
func (f *Follower) Cursor() Cursor { return f.at.Cursor }

// Close ends the follower. Safe to call twice.
func (f *Follower) Close() { f.closed.Do(f.tail.leave) }

// begin looks for the place to start at.
func (f *Follower) begin(ctx context.Context, start Start) error {
	end, err := f.tail.now(ctx)
	if err != nil {
		return err
	}
	f.tail.mu.Lock()
	f.history = f.tail.history
	atEnd := start.kind == startAfter && f.tail.isEnd(start.after.Cursor, end.Cursor) && !parts(start.after.id, end.id)
	f.tail.mu.Unlock()
	if start.kind == startDefault || start.kind == startNow || atEnd {
		f.at = end
		return nil
	}
	if err := f.tail.turn(ctx); err != nil {
		return err
	}
	defer f.tail.done()
	bounded, cancel := context.WithTimeout(f.tail.life, resolveTimeout)
	defer cancel()
	f.at, err = resolve(bounded, f.tail.cfg.Pool, start)
	f.behind = f.at.Cursor != end.Cursor
	return rewound(err)
}

// isEnd reports whether a cursor is known to be the history's end, without asking the database. The caller holds mu.
func (t *Tail) isEnd(c, end Cursor) bool {
	return c == end || c == Cursor{Position: end.Position} || c == t.recent.end.Cursor && c.Position == end.Position
}

// Next returns the next events that the filter chooses, 100 at most, and none if there were none for as long as
// patience. They are shared with other followers and must not be changed.
//
// Database outages are waited for. An error is answered where going on makes no sense: a cursor that the history does
// not hold any more (RewoundError, PrunedError), a database that refuses, the tail's end (ErrTailStopped), or ctx's.
func (f *Follower) Next(ctx context.Context, patience time.Duration) ([]*Event, error) {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		events, err := f.next(patient)
		switch {
		case len(events) > 0:
			return events, nil
		case f.tail.life.Err() != nil:
			return nil, ErrTailStopped
		case err != nil:
			return nil, err
		case patient.Err() != nil:
			return nil, ctx.Err()
		}
	}
}

// next takes one step: a page of the database, events of the tail, or a wait for one of them.
func (f *Follower) next(ctx context.Context) ([]*Event, error) {
	t := f.tail
	t.mu.Lock()
	if f.history != t.history {
		f.history, f.behind = t.history, true
	}
	var events []*Event
	if !f.behind {
		var held bool
		events, held = t.recent.follows(f.at.Position, followPage)
		f.behind = !held && t.recent.known
	}
	news := t.news
	t.mu.Unlock()

	switch {
	case f.behind:
		return f.replay(ctx)
	case len(events) > 0:
		f.at = markOf(*events[len(events)-1])
		return slices.DeleteFunc(events, func(e *Event) bool { return !f.chooses(e) }), nil
	}
	select {
	case <-news:
	case <-t.life.Done():
	case <-ctx.Done():
	}
	return nil, nil
}

// replay reads a page of the database, when it is this follower's turn.
func (f *Follower) replay(ctx context.Context) ([]*Event, error) {
	if f.failures > 0 && !listen.Pause(ctx, listen.Backoff(f.failures)) {
		return nil, nil
	}
	if err := f.tail.turn(ctx); err != nil {
		return nil, nil // Next finds out whose patience ended
	}
	defer f.tail.done()
	bounded, cancel := context.WithTimeout(f.tail.life, statementTimeout)
	defer cancel()
	p, err := readAfter(bounded, f.tail.cfg.Pool, f.at, f.filter, followPage)
	if err != nil {
		if !mayPass(err) {
			return nil, err
		}
		f.failures++
		return nil, nil
	}
	f.failures, f.at, f.behind = 0, p.next(), p.Next.Position < p.End.Position
	events := make([]*Event, len(p.Events))
	for i := range p.Events {
		events[i] = &p.Events[i]
	}
	return events, nil
}

// turn waits until fewer than Replays read; done ends a turn. What is read in it is bounded by the tail's life and not
// by the caller's context: a read that is cut off costs its connection.
func (t *Tail) turn(ctx context.Context) error {
	select {
	case t.replays <- struct{}{}:
		return nil
	case <-t.life.Done():
		return ErrTailStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Tail) done() { <-t.replays }

// chooses is the filter's condition of pageSQL.
func (f *Follower) chooses(e *Event) bool {
	return (len(f.templates) == 0 ||
		slices.Contains(f.templates, e.Data.TemplateCollectionID.String()) || slices.Contains(f.templates, e.Data.TemplateKey)) &&
		(len(f.filter.Actors) == 0 || slices.Contains(f.filter.Actors, e.Data.Actor)) &&
		(len(f.filter.EventTypes) == 0 || slices.Contains(f.filter.EventTypes, e.Data.EventType))
}
