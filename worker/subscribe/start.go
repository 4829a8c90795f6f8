package subscribe

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is what queries run on: a pgxpool.Pool, a pgx.Conn, or a pgx.Tx.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Start says where in the history to begin. The zero Start is Now without a consumer's name, and Beginning with one.
type Start struct {
	kind  startKind
	after Cursor
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

// Beginning is before the first event that is kept.
func Beginning() Start { return Start{kind: startBeginning} }

// Now is after the last event that is there when Run starts.
func Now() Start { return Start{kind: startNow} }

// After is after the event that carries the cursor.
func After(c Cursor) Start { return Start{kind: startAfter, after: c} }

// Since is before the first event that was announced at t or later, as exactly as the server's clock ran. A t before
// everything that is kept is Beginning.
func Since(t time.Time) Start { return Start{kind: startSince, since: t} }

// Resolve answers the cursor at which a reader that starts there begins, in the current epoch where the start
// names none. A cursor that the history does not hold is a BeyondEndError, a RewoundError or a PrunedError. The
// zero Start is Now.
func Resolve(ctx context.Context, db DB, start Start) (Cursor, error) {
	var h history
	switch start.kind {
	case startAfter:
		if err := h.scan(db.QueryRow(ctx, stateSQL, nullable(start.after.Epoch), start.after.Position)); err != nil {
			return Cursor{}, fmt.Errorf("look for cursor %s: %w", start.after, err)
		}
		return h.check(start.after)
	case startSince:
		var c Cursor
		err := db.QueryRow(ctx, `
			SELECT s.epoch, iu_outbox.position_before($1) FROM iu_outbox.cursor_state(NULL, -1) AS s`, start.since).
			Scan(&c.Epoch, &c.Position)
		if err != nil {
			return Cursor{}, fmt.Errorf("look for the events since %s: %w", start.since.Format(time.RFC3339), err)
		}
		return c, nil
	default:
		if err := h.scan(db.QueryRow(ctx, stateSQL, nil, -1)); err != nil {
			return Cursor{}, fmt.Errorf("look for the ends of the history: %w", err)
		}
		if start.kind == startBeginning {
			return h.keptAfter, nil
		}
		return h.end, nil
	}
}

const stateSQL = `
	SELECT s.state, s.epoch, s.position, s.known_until, s.kept_after FROM iu_outbox.cursor_state($1, $2) AS s`

// history is what iu_outbox.cursor_state answers for a cursor.
type history struct {
	state      string
	end        Cursor
	keptAfter  Cursor
	knownUntil *int64
}

func (h *history) scan(row pgx.Row, more ...any) error {
	err := row.Scan(append([]any{&h.state, &h.end.Epoch, &h.end.Position, &h.knownUntil, &h.keptAfter.Position}, more...)...)
	h.keptAfter.Epoch = h.end.Epoch
	return err
}

// check answers the cursor, with the epoch that it lacked, or why a reader cannot go on after it.
func (h *history) check(c Cursor) (Cursor, error) {
	switch h.state {
	case "ok":
		if c.Epoch == "" {
			c.Epoch = h.end.Epoch
		}
		return c, nil
	case "beyond_end":
		return c, &BeyondEndError{Cursor: c, End: h.end}
	case "rewound":
		rewound := &RewoundError{Cursor: c, End: h.end}
		if h.knownUntil != nil {
			rewound.CommonUntil = Cursor{Epoch: c.Epoch, Position: *h.knownUntil}
		}
		return c, rewound
	case "pruned":
		return c, &PrunedError{Cursor: c, KeptAfter: h.keptAfter, End: h.end}
	default:
		return c, fmt.Errorf("cursor %s: unknown state %q", c, h.state)
	}
}

// nullable is NULL for an empty string.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
