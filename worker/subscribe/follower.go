package subscribe

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	// followPage is the maximum number of events that Next returns. Each follower holds them in memory.
	followPage = 100

	resolveTimeout = 10 * time.Second
)

// Follower reads events from its place in the history on, through a Tail. Not safe for concurrent use.
type Follower struct {
	tail      *Tail
	filter    Filter
	templates []string
	closed    sync.Once

	at       mark
	history  int    // the value of tail.history when at was read
	behind   bool   // whether the next events must be read from the database
	failures int    // of such reads, in a row
	ahead    bool   // the standby has yet to replay at
	sought   Cursor // the end of what the tail had read when at was looked for last
}

// Cursor returns the follower's place: after the last event that Next returned, and after those that the filter left out since.
func (f *Follower) Cursor() Cursor { return f.at.Cursor }

// Close ends the follower. It may be called more than once.
func (f *Follower) Close() { f.closed.Do(f.tail.leave) }

// begin resolves the place to start at.
func (f *Follower) begin(ctx context.Context, start Start) error {
	end, err := f.tail.now(ctx)
	if err != nil {
		return err
	}
	f.tail.mu.Lock()
	f.history = f.tail.history
	atEnd := start.kind == startAfter && f.tail.isEnd(start.after.Cursor, end.Cursor) && !differ(start.after.id, end.id)
	f.tail.mu.Unlock()
	if start.kind == startDefault || start.kind == startNow || atEnd {
		f.at = end
		return nil
	}
	if err := f.tail.acquire(ctx); err != nil {
		return err
	}
	defer f.tail.release()
	bounded, cancel := context.WithTimeout(f.tail.life, resolveTimeout)
	defer cancel()
	f.at, f.ahead, err = f.tail.source.begin(bounded, start)
	f.behind, f.sought = !f.ahead && f.at.Cursor != end.Cursor, end.Cursor
	return rewound(err)
}

// isEnd reports, without a query, whether a cursor is known to be the end of the history. The caller holds mu.
func (t *Tail) isEnd(c, end Cursor) bool {
	return c == end || c == Cursor{Position: end.Position} || c == t.recent.end.Cursor && c.Position == end.Position
}

// Next returns up to 100 events that the filter selects. It waits up to patience for them, and returns none if there are none
// by then. Other followers get the same events, so they must not be changed.
//
// Next retries while the database is unreachable. It returns an error if the follower cannot continue: its cursor is no longer
// in the history (RewoundError, PrunedError), the database refuses the query, the tail was stopped (ErrTailStopped), or ctx
// has ended.
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

// next takes one step: it reads a page from the database, takes events from the tail, or waits.
func (f *Follower) next(ctx context.Context) ([]*Event, error) {
	t := f.tail
	t.mu.Lock()
	if f.history != t.history {
		f.history, f.behind = t.history, true
	}
	if f.ahead && f.mayHaveCome() {
		f.behind = true
	}
	var events []*Event
	if !f.behind && !f.ahead {
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

// mayHaveCome reports whether the tail has read so much since the follower's place was looked for that it may be there now, or
// never will be. The caller holds the tail's mu.
func (f *Follower) mayHaveCome() bool {
	end := f.tail.recent.end.Cursor
	return f.tail.recent.known && end != f.sought && (end.Position >= f.at.Position || end.Epoch != f.sought.Epoch)
}

// replay reads a page from the database, as one of at most Replays followers.
func (f *Follower) replay(ctx context.Context) ([]*Event, error) {
	if f.failures > 0 && !retry.Pause(ctx, retry.Reconnect.Wait(f.failures)) {
		return nil, nil
	}
	if err := f.tail.acquire(ctx); err != nil {
		return nil, nil // Next determines which context ended
	}
	defer f.tail.release()
	bounded, cancel := context.WithTimeout(f.tail.life, statementTimeout)
	defer cancel()
	f.tail.mu.Lock()
	sought := f.tail.recent.end.Cursor
	f.tail.mu.Unlock()
	p, err := f.tail.source.after(bounded, f.at, f.filter, followPage)
	if err != nil {
		if !retry.MayPass(err) {
			return nil, err
		}
		f.failures++
		return nil, nil
	}
	f.failures, f.at, f.behind = 0, p.next, !p.ahead && p.next.Position < p.end.Position
	f.ahead, f.sought = p.ahead, sought
	events := make([]*Event, len(p.events))
	for i := range p.events {
		events[i] = &p.events[i]
	}
	return events, nil
}

// acquire waits until fewer than Replays followers are reading. ctx bounds only the wait: the read that follows ends with the
// tail, because a cancelled query costs its connection.
func (t *Tail) acquire(ctx context.Context) error {
	select {
	case t.replays <- struct{}{}:
		return nil
	case <-t.life.Done():
		return ErrTailStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Tail) release() { <-t.replays }

// chooses reports whether the filter selects an event. pageSQL has the same condition.
func (f *Follower) chooses(e *Event) bool {
	return (len(f.templates) == 0 ||
		slices.Contains(f.templates, e.Data.TemplateCollectionID.String()) || slices.Contains(f.templates, e.Data.TemplateKey)) &&
		(len(f.filter.Actors) == 0 || slices.Contains(f.filter.Actors, e.Data.Actor)) &&
		(len(f.filter.EventTypes) == 0 || slices.Contains(f.filter.EventTypes, e.Data.EventType))
}
