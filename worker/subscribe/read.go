package subscribe

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Filter selects the events that match each list. An empty list matches all events.
type Filter struct {
	Templates  []string // ids or collection keys
	Actors     []string
	EventTypes []string // of the application's event, such as order.paid
}

func (f Filter) empty() bool { return len(f.Templates)+len(f.Actors)+len(f.EventTypes) == 0 }

// templates returns the keys, and the ids as the database formats them.
func (f Filter) templates() []string {
	var out []string
	for _, t := range f.Templates {
		if id, err := uuid.Parse(t); err == nil {
			out = append(out, id.String())
		}
		out = append(out, t)
	}
	return out
}

// Page is a stretch of the history.
type Page struct {
	Events []Event
	// Next is the cursor of the next page: after the last event, and after those that the filter left out.
	Next Cursor
	// End is the end of the history when the page was read.
	End Cursor
}

// filterWindow is how many emissions a read with a filter scans.
const filterWindow = 1000

// pageSQL reads a page and the state of the cursor before it in one snapshot: nothing can be pruned or set back in between.
// The second %s is the place to begin at. The last emission that was scanned is returned even if the filter leaves it out,
// then without its event: the reader moves past it.
const pageSQL = `
	SELECT %s,
	       COALESCE(at.epoch, ''), at.position, COALESCE(at.id, ''), at.tries, at.replay,
	       COALESCE(p.cursor, ''), COALESCE(p.id, ''), COALESCE(p.event, '')
	FROM (%s) AS at
	CROSS JOIN LATERAL iu_outbox.cursor_state(at.epoch, at.position) AS s
	LEFT JOIN LATERAL (
		SELECT w.position, w.cursor, w.id, CASE WHEN w.nth <= $1 THEN w.event END AS event
		FROM (
			SELECT c.position, c.cursor, c.id, c.event,
			       pg_catalog.count(c.event) OVER (ORDER BY c.position) AS nth,
			       pg_catalog.max(c.position) OVER () AS last
			FROM (
				SELECT e.position, e.event ->> 'cursor' AS cursor, e.instance_collection_id::text AS id,
				       CASE WHEN (COALESCE(pg_catalog.cardinality($3::text[]), 0) = 0 OR e.event #>> '{data,template_collection_id}' = ANY ($3)
				                  OR e.event #>> '{data,template_key}' = ANY ($3))
				             AND (COALESCE(pg_catalog.cardinality($4::text[]), 0) = 0 OR e.event #>> '{data,actor}' = ANY ($4))
				             AND (COALESCE(pg_catalog.cardinality($5::text[]), 0) = 0 OR e.event #>> '{data,event_type}' = ANY ($5))
				            THEN e.event::text END AS event
				FROM iu_outbox.emission AS e
				WHERE e.position > at.position AND s.state = 'ok'
				ORDER BY e.position
				LIMIT $2) AS c) AS w
		WHERE (w.event IS NOT NULL AND w.nth <= $1) OR w.position = w.last) AS p ON true
	ORDER BY p.position`

// A page begins at a cursor that the caller keeps, or at a consumer's row.
var (
	pageAfterSQL = fmt.Sprintf(pageSQL, pageHistorySQL,
		`SELECT NULLIF($6::text, '') AS epoch, $7::bigint AS position, $8::text AS id, 0 AS tries, false AS replay`)
	pageConsumerSQL = fmt.Sprintf(pageSQL, pageHistorySQL, fmt.Sprintf(consumerRowSQL, "$6"))
)

// consumerRowSQL is the place of the consumer whose name is the parameter %s.
const consumerRowSQL = `
	SELECT c.epoch, c.position, c.last_event_id::text AS id, c.tries, EXISTS (
		SELECT FROM iu_outbox.consumer_dead_letter AS d
		WHERE d.consumer = c.name AND d.replay_requested_at IS NOT NULL) AS replay
	FROM iu_outbox.consumer AS c WHERE c.name = %s`

var pageHistorySQL = fmt.Sprintf(historySQL, "at.position")

// page is a Page with what else a subscriber needs.
type page struct {
	events []Event
	after  mark   // where it begins
	next   mark   // where the next page begins
	end    mark   // the end of the history
	known  *int64 // the last position that after's epoch has in common with the current history
	tries  int    // failed tries for the first event
	replay bool   // whether a replay of dead letters was requested
	ahead  bool   // the server has not replayed the place where the page begins; then the page is empty
}

// Read returns up to limit events after a cursor. A filter may make it return fewer before the end of the history: read
// until Next is the cursor that was given. The error is a RewoundError or a PrunedError if the history does not contain the
// cursor. Resolve a cursor that a person typed first: Resolve reports one that is too large as a BeyondEndError. There are no
// events yet after a cursor that a standby has not replayed.
func Read(ctx context.Context, db DB, after Cursor, filter Filter, limit int) (Page, error) {
	p, err := readAfter(ctx, db, ownHistory, mark{Cursor: after}, filter, limit)
	return Page{Events: p.events, Next: p.next.Cursor, End: p.end.Cursor}, err
}

// readAfter is Read for a cursor with the id of its event. It returns a RewoundError if another event is there now.
func readAfter(ctx context.Context, db DB, known knowledge, after mark, filter Filter, limit int) (page, error) {
	return readPage(ctx, db, known, pageAfterSQL, filter, limit, after.Epoch, after.Position, after.id)
}

func readPage(ctx context.Context, db DB, known knowledge, sql string, filter Filter, limit int, from ...any) (p page, err error) {
	window := limit
	if !filter.empty() && limit > 0 {
		window = max(limit, filterWindow)
	}
	args := append([]any{limit, window, filter.templates(), filter.Actors, filter.EventTypes}, from...)
	rows, _ := db.Query(ctx, sql, args...) // ForEachRow returns its error
	var h history
	var at, next mark
	var cursor, text string
	found := false
	_, err = pgx.ForEachRow(rows, h.columns(&at.Epoch, &at.Position, &at.id, &p.tries, &p.replay, &cursor, &next.id, &text), func() (err error) {
		if !found {
			p.after, err = h.check(at, known)
			if p.ahead = errors.Is(err, errNotHere); err != nil && !p.ahead {
				return rewound(err)
			}
			found, p.next, p.end, p.known = true, p.after, h.end, h.knownUntil
		}
		switch {
		case text != "":
			event, err := ParseEvent([]byte(text))
			if err != nil {
				return err
			}
			p.events = append(p.events, event)
			p.next = mark{event.Cursor, next.id}
		case cursor != "" && len(p.events) < limit: // the filter left this event out
			if next.Cursor, err = ParseCursor(cursor); err != nil {
				return err
			}
			p.next = next
		}
		return nil
	})
	if err == nil && !found {
		err = errNoRow
	}
	if err != nil {
		return page{}, fmt.Errorf("read events: %w", err)
	}
	return p, nil
}

// errNoRow means that the consumer to read for does not exist.
var errNoRow = errors.New("no row")

// rewound converts a BeyondEndError to a RewoundError if the cursor has an epoch: such a cursor was once read, not mistyped.
func rewound(err error) error {
	var beyond *BeyondEndError
	if !errors.As(err, &beyond) || beyond.Cursor.Epoch == "" {
		return err
	}
	return &RewoundError{Cursor: beyond.Cursor, CommonUntil: beyond.End, End: beyond.End}
}
