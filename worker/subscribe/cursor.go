package subscribe

import (
	"fmt"
	"regexp"
	"strconv"
)

// Cursor is a place in the history of emissions: just after the event at Position. A reader stores the cursor of the last
// event that it handled, and continues after it.
//
// Epoch names the history in which the position was read, because a restore or a failover may give the same position to
// another event. An empty Epoch means the current one, for positions that people type. The zero Cursor is before the first
// event.
type Cursor struct {
	Epoch    string
	Position int64
}

// mark is a cursor with the id of the event that was read there. If another event is there now, the history is another one,
// even in the same epoch. An empty id is unknown.
type mark struct {
	Cursor

	id string
}

func markOf(e Event) mark { return mark{e.Cursor, e.ID} }

// differ reports whether two ids are known and not the same.
func differ(was, is string) bool { return was != "" && is != "" && was != is }

var cursorPattern = regexp.MustCompile(`^(?:([0-9a-f]{8})-)?([0-9]{1,19})$`)

// ParseCursor parses an event's cursor, `<epoch>-<position>`, or a bare position. The error wraps ErrBadCursor.
func ParseCursor(s string) (Cursor, error) {
	match := cursorPattern.FindStringSubmatch(s)
	if match == nil {
		return Cursor{}, fmt.Errorf("%w: %.60q: give <epoch>-<position> as an event carries it, or a bare position", ErrBadCursor, s)
	}
	position, err := strconv.ParseInt(match[2], 10, 64)
	if err != nil {
		return Cursor{}, fmt.Errorf("%w: %.60q: the position is too large", ErrBadCursor, s)
	}
	return Cursor{Epoch: match[1], Position: position}, nil
}

// String returns the cursor in the form that ParseCursor parses.
func (c Cursor) String() string {
	if c.Epoch == "" {
		return strconv.FormatInt(c.Position, 10)
	}
	return c.Epoch + "-" + strconv.FormatInt(c.Position, 10)
}

// MarshalText implements encoding.TextMarshaler.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Cursor) UnmarshalText(text []byte) error {
	parsed, err := ParseCursor(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}
