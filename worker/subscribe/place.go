package subscribe

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// place is where a subscriber keeps its cursor.
type place interface {
	// read answers up to limit events after the cursor.
	read(ctx context.Context, limit int) (page, error)
	// move moves the cursor from one place to another, on db; errMoved where it is not at from any more.
	move(ctx context.Context, db DB, from, to Cursor) error
	// failed notes a failure for the first event after from, and answers how many tries failed so far; counts says
	// whether this one is a try that counts.
	failed(ctx context.Context, from Cursor, err error, counts bool) (int, error)
}

// errMoved: somebody else moved the cursor: another process that took over, or an operator.
var errMoved = errors.New("the cursor was moved by somebody else")

// memory keeps the cursor for one Run.
type memory struct {
	cfg    Config
	cursor Cursor
	tries  int
}

func (m *memory) read(ctx context.Context, limit int) (page, error) {
	return readPage(ctx, m.cfg.Pool, pageAfterSQL, m.cfg.Filter, limit, nullable(m.cursor.Epoch), m.cursor.Position)
}

func (m *memory) move(_ context.Context, _ DB, _, to Cursor) error {
	m.cursor, m.tries = to, 0
	return nil
}

func (m *memory) failed(_ context.Context, _ Cursor, _ error, counts bool) (int, error) {
	if counts {
		m.tries++
	}
	return m.tries, nil
}

// row keeps the cursor in iu_outbox.consumer. Every read begins at the row, so that an operator's reset, and another
// process's work, are seen at once; every move is conditional on the position that was read and on the lease, so
// that a process that lost it can neither move the cursor back nor twice.
type row struct {
	cfg     Config
	process string
}

func (r *row) read(ctx context.Context, limit int) (page, error) {
	p, err := readPage(ctx, r.cfg.Pool, pageConsumerSQL, r.cfg.Filter, limit, r.cfg.Consumer)
	if errors.Is(err, errNoRow) {
		return p, absent(ctx, r.cfg.Pool, fmt.Errorf("%w: %q was deleted while it ran", ErrNoConsumer, r.cfg.Consumer))
	}
	return p, err
}

func (r *row) move(ctx context.Context, db DB, from, to Cursor) error {
	tag, err := db.Exec(ctx, `
		UPDATE iu_outbox.consumer AS c
		SET epoch = $4, position = $5, tries = 0, last_error = NULL, last_error_at = NULL,
		    updated_at = pg_catalog.clock_timestamp()
		WHERE c.name = $1 AND c.epoch = $2 AND c.position = $3
		  AND EXISTS (SELECT FROM iu_outbox.consumer_lease AS l WHERE l.consumer = $1 AND l.process = $6)`,
		r.cfg.Consumer, from.Epoch, from.Position, to.Epoch, to.Position, r.process)
	if err != nil {
		return fmt.Errorf("move the cursor: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errMoved
	}
	return nil
}

func (r *row) failed(ctx context.Context, from Cursor, cause error, counts bool) (int, error) {
	var tries int
	err := r.cfg.Pool.QueryRow(ctx, `
		WITH noted AS (
			UPDATE iu_outbox.consumer AS c
			SET tries = c.tries + $4::int, last_error = $5, last_error_at = pg_catalog.clock_timestamp()
			WHERE c.name = $1 AND c.epoch = $2 AND c.position = $3
			RETURNING c.tries)
		SELECT COALESCE((SELECT n.tries FROM noted AS n), 0)`,
		r.cfg.Consumer, from.Epoch, from.Position, boolToInt(counts), message(cause)).Scan(&tries)
	if err != nil {
		return 0, fmt.Errorf("note the failure: %w", err)
	}
	return tries, nil
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// message is an error as a column of text takes it: valid UTF-8, no NUL, not endless.
func message(err error) string {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "\uFFFD")
	const most = 2000
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return text
}

// open makes the consumer where it is new.
func (r *row) open(ctx context.Context) (created bool, err error) {
	var epoch *string
	var position *int64
	if k := r.cfg.From.kind; k != startDefault && k != startBeginning {
		c, err := Resolve(ctx, r.cfg.Pool, r.cfg.From)
		if err != nil {
			return false, err
		}
		epoch, position = &c.Epoch, &c.Position
	}
	err = r.cfg.Pool.QueryRow(ctx, "SELECT iu_outbox.open_consumer($1, $2, $3)", r.cfg.Consumer, epoch, position).Scan(&created)
	if err != nil {
		return false, fmt.Errorf("open consumer %q: %w", r.cfg.Consumer, err)
	}
	return created, nil
}
