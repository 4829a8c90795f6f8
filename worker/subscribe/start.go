package subscribe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB runs queries. It is a *pgxpool.Pool, a *pgx.Conn or a pgx.Tx.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Start says where in the history to begin. The zero Start is Now without a consumer's name, and Beginning with one.
type Start struct {
	kind  startKind
	after mark
	since time.Time
}

type startKind int

const (
	startDefault startKind = iota
	startBeginning
	startNow
	startAfter
	startSince
)

// Beginning begins with the first event that is kept.
func Beginning() Start { return Start{kind: startBeginning} }

// Now begins with the first event that is announced after the subscriber or follower starts.
func Now() Start { return Start{kind: startNow} }

// After begins after the event with that cursor.
func After(c Cursor) Start { return Start{kind: startAfter, after: mark{Cursor: c}} }

// AfterEvent is After for programs that store the event's ID with its cursor. The reader gets a RewoundError if another event
// is there now: then the database's files were replaced by an older copy.
func AfterEvent(c Cursor, id string) Start { return Start{kind: startAfter, after: mark{c, id}} }

// Since begins with the first event that was announced at t or later by the server's clock. It is Beginning if all events that
// are kept are later than t.
func Since(t time.Time) Start { return Start{kind: startSince, since: t} }

// Resolve returns the cursor at which a reader begins, in the current epoch if start names none. The zero Start is Now. The
// error is a BeyondEndError, a RewoundError or a PrunedError if the history does not contain the cursor. A cursor that a standby
// has not replayed yet is no error.
func Resolve(ctx context.Context, db DB, start Start) (Cursor, error) {
	at, err := resolve(ctx, db, ownHistory, start)
	if errors.Is(err, errNotHere) {
		err = nil
	}
	return at.Cursor, err
}

func resolve(ctx context.Context, db DB, known knowledge, start Start) (mark, error) {
	var h history
	switch start.kind {
	case startAfter:
		if err := db.QueryRow(ctx, stateSQL, start.after.Epoch, start.after.Position).Scan(h.columns()...); err != nil {
			return mark{}, fmt.Errorf("look for cursor %s: %w", start.after, err)
		}
		return h.check(start.after, known)
	case startSince:
		var c mark
		err := db.QueryRow(ctx, `
			SELECT s.epoch, iu_outbox.position_before($1) FROM iu_outbox.cursor_state(NULL, -1) AS s`, start.since).
			Scan(&c.Epoch, &c.Position)
		if err != nil {
			return mark{}, fmt.Errorf("look for the events since %s: %w", start.since.Format(time.RFC3339), err)
		}
		return c, nil
	default:
		if err := db.QueryRow(ctx, stateSQL, "", -1).Scan(h.columns()...); err != nil {
			return mark{}, fmt.Errorf("look for the ends of the history: %w", err)
		}
		if start.kind == startBeginning {
			return mark{Cursor: h.kept()}, nil
		}
		return h.end, nil
	}
}

// historySQL is the select list of a history, for a cursor_state s and the position %[1]s.
const historySQL = `s.state, s.epoch, s.position, s.known_until, s.kept_after, pg_catalog.pg_is_in_recovery(),
	       COALESCE((SELECT e.instance_collection_id::text FROM iu_outbox.emission AS e WHERE e.position = %[1]s), ''),
	       COALESCE((SELECT e.instance_collection_id::text FROM iu_outbox.emission AS e WHERE e.position = s.position), '')`

var stateSQL = `SELECT ` + fmt.Sprintf(historySQL, "$2") + ` FROM iu_outbox.cursor_state(NULLIF($1, ''), $2) AS s`

// history is what iu_outbox.cursor_state returns for a cursor.
type history struct {
	state      string
	end        mark
	keptAfter  int64
	knownUntil *int64
	standby    bool   // the server is in recovery
	here       string // the id of the event at the cursor; empty if the event is not kept
}

// columns returns the destinations to scan the columns of historySQL into, followed by more.
func (h *history) columns(more ...any) []any {
	return append([]any{&h.state, &h.end.Epoch, &h.end.Position, &h.knownUntil, &h.keptAfter, &h.standby, &h.here, &h.end.id}, more...)
}

// kept returns the cursor after which all events are kept.
func (h *history) kept() Cursor { return Cursor{Epoch: h.end.Epoch, Position: h.keptAfter} }

// check returns c with its epoch and id filled in, or an error if a reader cannot continue after it.
func (h *history) check(c mark, known knowledge) (mark, error) {
	lost := h.state == "rewound" || h.state == "beyond_end"
	switch {
	case !lost && differ(c.id, h.here):
		return c, &RewoundError{Cursor: c.Cursor, End: h.end.Cursor, Found: h.here}
	case lost && (h.standby || known == sharedHistory) && !h.passed(c.Cursor):
		return c, errNotHere
	}
	switch h.state {
	case "ok":
		if c.Epoch == "" {
			c.Epoch = h.end.Epoch
		}
		if h.here != "" {
			c.id = h.here
		}
		return c, nil
	case "beyond_end":
		return c, &BeyondEndError{Cursor: c.Cursor, End: h.end.Cursor}
	case "rewound":
		rewound := &RewoundError{Cursor: c.Cursor, End: h.end.Cursor}
		if h.knownUntil != nil {
			rewound.CommonUntil = Cursor{Epoch: c.Epoch, Position: *h.knownUntil}
		}
		return c, rewound
	case "pruned":
		return c, &PrunedError{Cursor: c.Cursor, KeptAfter: h.kept(), End: h.end.Cursor}
	default:
		return c, fmt.Errorf("cursor %s: unknown state %q", c, h.state)
	}
}
