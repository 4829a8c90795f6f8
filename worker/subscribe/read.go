package subscribe

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Filter selects events. An event must be in each list; an empty list selects all.
type Filter struct {
	Templates  []string // ids or collection keys
	Actors     []string
	EventTypes []string // of the application's event, such as order.paid
}

func (f Filter) empty() bool { return len(f.Templates)+len(f.Actors)+len(f.EventTypes) == 0 }

// templates are ids as the database writes them, and keys.
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

// chosen is NULL in SQL for a list that chooses all.
func chosen(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// Page is a stretch of the history.
type Page struct {
	Events []Event
	// Next is where to read on: after the last event, and after what the filter left out.
	Next Cursor
	// End is the end of the history when the page was read.
	End Cursor
}

// filterWindow is how many emissions one read scans if a filter selects among them.
const filterWindow = 1000

// pageSQL reads one stretch in one snapshot, together with the state of the cursor that it follows: nothing can be
// pruned or set back in between. The second %s is where to begin. The last emission that was scanned is returned even if
// the filter leaves it out (then without its event), so that the reader gets past it.
const pageSQL = `
	SELECT %s,
	       at.epoch, at.position, at.id, at.tries, at.replay, p.cursor, p.id, p.event
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
				       CASE WHEN ($3::text[] IS NULL OR e.event #>> '{data,template_collection_id}' = ANY ($3)
				                  OR e.event #>> '{data,template_key}' = ANY ($3))
				             AND ($4::text[] IS NULL OR e.event #>> '{data,actor}' = ANY ($4))
				             AND ($5::text[] IS NULL OR e.event #>> '{data,event_type}' = ANY ($5))
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
		`SELECT $6::text AS epoch, $7::bigint AS position, $8::text AS id, 0 AS tries, false AS replay`)
	pageConsumerSQL = fmt.Sprintf(pageSQL, pageHistorySQL, `
		SELECT c.epoch, c.position, c.last_event_id::text AS id, c.tries, EXISTS (
			SELECT FROM iu_outbox.consumer_dead_letter AS d
			WHERE d.consumer = c.name AND d.replay_requested_at IS NOT NULL) AS replay
		FROM iu_outbox.consumer AS c WHERE c.name = $6`)
)

var pageHistorySQL = fmt.Sprintf(historySQL, "at.position")

// page is a Page with what else the loop needs.
type page struct {
	Page
	after  mark   // where it begins
	nextID string // the id of the event at Next
	endID  string // the id of the event at End
	known  *int64 // the last position that after's epoch has in common with today's history
	tries  int    // failed for the first event
	replay bool   // dead letters are to be handled again
}

// Read returns up to limit events after a cursor, fewer if the history ends or the filter leaves too many out:
// read on at Next until it is the cursor that was given. A cursor that the history does not hold is a
// RewoundError or a PrunedError. Resolve a cursor from outside first, to tell typing errors apart.
func Read(ctx context.Context, db DB, after Cursor, filter Filter, limit int) (Page, error) {
	p, err := readAfter(ctx, db, mark{Cursor: after}, filter, limit)
	return p.Page, err
}

// readAfter is Read for a place whose event is known: if another one is there, it is a RewoundError.
func readAfter(ctx context.Context, db DB, after mark, filter Filter, limit int) (page, error) {
	return readPage(ctx, db, pageAfterSQL, filter, limit, nullable(after.Epoch), after.Position, nullable(after.id))
}

func (p page) next() mark { return mark{p.Next, p.nextID} }

func (p page) end() mark { return mark{p.End, p.endID} }

func readPage(ctx context.Context, db DB, sql string, filter Filter, limit int, from ...any) (page, error) {
	window := limit
	if !filter.empty() && limit > 0 {
		window = max(limit, filterWindow)
	}
	args := append([]any{limit, window, filter.templates(), chosen(filter.Actors), chosen(filter.EventTypes)}, from...)
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return page{}, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	p, err := scanPage(rows, limit)
	if err != nil {
		return page{}, fmt.Errorf("read events: %w", err)
	}
	return p, nil
}

// errNoRow means that the place to begin at does not exist.
var errNoRow = errors.New("no row")

func scanPage(rows pgx.Rows, limit int) (page, error) {
	var p page
	found := false
	for rows.Next() {
		var h history
		var at mark
		var epoch, atID, cursor, id, text *string
		if err := h.scan(rows, &epoch, &at.Position, &atID, &p.tries, &p.replay, &cursor, &id, &text); err != nil {
			return p, err
		}
		if !found {
			at.Epoch, at.id = orEmpty(epoch), orEmpty(atID)
			after, err := h.check(at)
			if err != nil {
				return p, rewound(err)
			}
			found, p.after, p.known = true, after, h.knownUntil
			p.Next, p.nextID, p.End, p.endID = after.Cursor, after.id, h.end.Cursor, h.end.id
		}
		if err := p.add(cursor, id, text, limit); err != nil {
			return p, err
		}
	}
	if err := rows.Err(); err != nil {
		return p, err
	}
	if !found {
		return p, errNoRow
	}
	return p, nil
}

// add adds a row: an event, or the place of one that the filter left out.
func (p *page) add(cursor, id, text *string, limit int) error {
	switch {
	case text != nil:
		event, err := ParseEvent([]byte(*text))
		if err != nil {
			return err
		}
		p.Events = append(p.Events, event)
		p.Next, p.nextID = event.Cursor, orEmpty(id)
	case cursor != nil && len(p.Events) < limit:
		next, err := ParseCursor(*cursor)
		if err != nil {
			return err
		}
		p.Next, p.nextID = next, orEmpty(id)
	}
	return nil
}

// rewound turns a BeyondEndError into a RewoundError if the cursor has an epoch: it was once read from this history.
func rewound(err error) error {
	var beyond *BeyondEndError
	if !errors.As(err, &beyond) || beyond.Cursor.Epoch == "" {
		return err
	}
	return &RewoundError{Cursor: beyond.Cursor, CommonUntil: beyond.End, End: beyond.End}
}
