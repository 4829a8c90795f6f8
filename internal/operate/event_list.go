package operate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// States of an event. The database determines them: the function find_event for an event, the view job for a job.
const (
	EventWaiting    = "waiting"     // in the outbox, or not due yet
	EventWorking    = "working"     // has a job
	EventParked     = "parked"      // its job waits for a gate, or for a fault of the installation to be mended
	EventDone       = "done"        // its instance was composed
	EventDead       = "dead"        // it is a dead letter
	EventRolledBack = "rolled_back" // its instance was deleted
	EventGone       = "gone"        // neither an instance nor a dead letter is left: the letter was dropped or retried
)

// EventStates lists the states that EventFilter accepts, in the order in which an event passes through them.
var EventStates = []string{EventWaiting, EventWorking, EventParked, EventDone, EventDead, EventRolledBack}

// EventFilter chooses events. The zero value of a field chooses all.
type EventFilter struct {
	State     string // one of EventStates
	Template  uuid.UUID
	Suffix    string // the beginning of the suffix
	Actor     string
	EventType string
	Since     time.Time // inclusive; compared with EventRow.At
	Until     time.Time // exclusive
}

// EventRow is an event in the list.
type EventRow struct {
	At             time.Time  `json:"at"` // when it entered this state, or the outbox
	State          string     `json:"state"`
	Reason         *string    `json:"reason"` // why it is parked, retried or dead
	EventID        *uuid.UUID `json:"event_id"`
	IdempotencyKey string     `json:"idempotency_key"`
	TemplateID     *uuid.UUID `json:"template_collection_id"`
	TemplateKey    *string    `json:"template_key"` // nil: no such collection
	Suffix         string     `json:"instance_key_suffix"`
	EventType      string     `json:"event_type"`
	Actor          string     `json:"actor"`
	EmitMode       string     `json:"emit_mode"`
	Queue          *string    `json:"queue"`
	JobID          *int64     `json:"job_id"`
	DeadLetterID   *int64     `json:"dead_letter_id"`
	InstanceID     *uuid.UUID `json:"instance_collection_id"`
	Position       *int64     `json:"position"`
	Seconds        *float64   `json:"seconds"` // from the INSERT, or available_at, to the instance; nil: not known

	source int
	id     int64
}

// EventPage is a page of the list, newest first.
type EventPage struct {
	Events []EventRow `json:"events"`
	Older  string     `json:"older,omitempty"` // the place of the older ones; "" if there are none
	Newer  string     `json:"newer,omitempty"` // the place of the newer ones; "" on the first page

	// SearchedTo is set if the page is short because the search for it ended early: it is the time back to which events were
	// searched, and Older may lead to more. nil: the page is complete.
	SearchedTo *time.Time `json:"searched_to,omitempty"`
}

// ErrEventPlace is returned for a place that does not come from a page.
var ErrEventPlace = errors.New("this is not a position in the list of events")

// eventScan is the most rows of a source that one page reads, unless few rows can match.
const eventScan = 10_000

// Events returns up to limit events that match a filter, newest first. place is Older or Newer of another page; "" begins with the
// newest event. The list has outbox rows, unfinished jobs, dead letters, live instances while their emissions are retained, and dry
// runs while River keeps their jobs. A page reads a bounded number of rows of each, whatever the filter.
func Events(ctx context.Context, db Beginner, filter EventFilter, place string, limit int) (EventPage, error) {
	return listEvents(ctx, db, filter, place, limit, eventScan)
}

func listEvents(ctx context.Context, db Beginner, filter EventFilter, place string, limit, scan int) (EventPage, error) {
	from, err := parsePlace(place)
	if err != nil {
		return EventPage{}, err
	}
	tx, err := db.BeginTx(ctx, Snapshot)
	if err != nil {
		return EventPage{}, fmt.Errorf("list events: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only read
	list := &eventList{tx: tx, filter: filter, limit: limit, scan: scan, from: from}
	page, err := list.read(ctx)
	if err != nil {
		return EventPage{}, fmt.Errorf("list events: %w", err)
	}
	return page, nil
}

// eventPlace is a place in the list: an id of each source. Older rows have lower ids.
type eventPlace struct {
	newer bool // read upwards
	ids   [len(eventSources)]int64
}

func parsePlace(text string) (eventPlace, error) {
	var p eventPlace
	for i := range p.ids {
		p.ids[i] = math.MaxInt64
	}
	if text == "" {
		return p, nil
	}
	rest, newer := strings.CutPrefix(text, "-")
	p.newer = newer
	parts := strings.Split(rest, ".")
	if len(parts) != len(p.ids) {
		return p, ErrEventPlace
	}
	for i, part := range parts {
		id, err := strconv.ParseInt(part, 36, 64)
		if err != nil || id < 0 {
			return p, ErrEventPlace
		}
		p.ids[i] = id
	}
	return p, nil
}

func (p eventPlace) String() string {
	parts := make([]string, len(p.ids))
	for i, id := range p.ids {
		parts[i] = strconv.FormatInt(id, 36)
	}
	text := strings.Join(parts, ".")
	if p.newer {
		return "-" + text
	}
	return text
}

type eventList struct {
	tx     pgx.Tx
	filter EventFilter
	limit  int
	scan   int // the most rows of a source that are read
	from   eventPlace
}

// sourceRows holds the rows of a source in the order of reading, and how far it was searched.
type sourceRows struct {
	rows  []EventRow
	to    int64     // the last id that was searched
	at    time.Time // the time of that row
	ended bool      // there are no more rows
}

func (l *eventList) read(ctx context.Context) (EventPage, error) {
	var read [len(eventSources)]sourceRows
	for i := range eventSources {
		source := eventSources[i]
		if !source.has(l.filter.State) {
			read[i] = sourceRows{ended: true}
			continue
		}
		rows, err := l.readSource(ctx, i, source)
		if err != nil {
			return EventPage{}, err
		}
		read[i] = rows
	}
	page, place := l.merge(read)
	if err := l.complete(ctx, page.Events); err != nil {
		return EventPage{}, err
	}
	l.finish(&page, place, read)
	return page, nil
}

// merge takes the rows of all sources in the order of their times, up to the time to which every source was searched.
func (l *eventList) merge(read [len(eventSources)]sourceRows) (EventPage, eventPlace) {
	place := l.from
	var page EventPage
	next := [len(eventSources)]int{}
	for len(page.Events) < l.limit {
		best := l.first(read, next)
		if best < 0 {
			break
		}
		at := read[best].rows[next[best]].At
		if horizon := l.horizon(read, next, false); horizon != nil && l.before(*horizon, at) {
			break
		}
		row := read[best].rows[next[best]]
		next[best]++
		place.ids[best] = row.id
		page.Events = append(page.Events, row)
	}
	short := len(page.Events) < l.limit
	if short {
		page.SearchedTo = l.horizon(read, next, true)
	}
	for i := range read { // rows that did not match are not searched again
		if (short || eventSources[i].loose) && next[i] >= len(read[i].rows) && !read[i].ended && read[i].to != 0 {
			place.ids[i] = read[i].to
		}
	}
	return page, place
}

// first returns the source whose next row comes first; -1 if there are no more rows.
func (l *eventList) first(read [len(eventSources)]sourceRows, next [len(eventSources)]int) int {
	best := -1
	for i := range read {
		if next[i] < len(read[i].rows) && (best < 0 || l.before(read[i].rows[next[i]].At, read[best].rows[next[best]].At)) {
			best = i
		}
	}
	return best
}

// horizon returns the time to which the sources whose rows are all taken were searched; nil if they were searched to their ends.
// Loose sources count only if loose is true.
func (l *eventList) horizon(read [len(eventSources)]sourceRows, next [len(eventSources)]int, loose bool) *time.Time {
	var horizon *time.Time
	for i := range read {
		if next[i] < len(read[i].rows) || read[i].ended || eventSources[i].loose && !loose {
			continue
		}
		if at := read[i].at; horizon == nil || l.before(at, *horizon) {
			horizon = &at
		}
	}
	return horizon
}

// before reports whether a comes before b in the order of reading.
func (l *eventList) before(a, b time.Time) bool {
	if l.from.newer {
		return a.Before(b)
	}
	return a.After(b)
}

// finish orders the page newest first and sets the places of its neighbours.
func (l *eventList) finish(page *EventPage, place eventPlace, read [len(eventSources)]sourceRows) {
	more := page.SearchedTo != nil
	for i := range read {
		more = more || !read[i].ended
		for _, row := range read[i].rows {
			if l.from.newer && row.id > place.ids[i] || !l.from.newer && row.id < place.ids[i] {
				more = true
			}
		}
	}
	if l.from.newer {
		slices.Reverse(page.Events)
		older := eventPlace{ids: l.from.ids}
		for i := range older.ids {
			older.ids[i]++ // the row at the place itself began the older page
		}
		page.Older = older.String()
		if more {
			page.Newer = eventPlace{newer: true, ids: place.ids}.String()
		}
		page.SearchedTo = nil
		return
	}
	if more {
		page.Older = place.String()
	}
	if first, _ := parsePlace(""); l.from != first {
		newer := eventPlace{newer: true, ids: l.from.ids}
		for i := range newer.ids {
			newer.ids[i] = max(newer.ids[i]-1, 0) // from.ids are exclusive in both directions
		}
		page.Newer = newer.String()
	}
}
