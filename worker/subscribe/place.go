package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/dbsession"
)

// place is where a subscriber keeps its cursor.
type place interface {
	// read returns up to limit events after the cursor.
	read(ctx context.Context, limit int) (page, error)
	// move moves the cursor, on db. It returns errMoved if the cursor is no longer at from.
	move(ctx context.Context, db DB, from Cursor, to mark) error
	// failed records a failure for the first event after from, and returns how many tries have failed. counts says whether
	// this failure counts as a try.
	failed(ctx context.Context, from Cursor, err error, counts bool) (int, error)
}

// errMoved means that an operator or another process has moved the cursor.
var errMoved = errors.New("something else moved the cursor")

// memory is a place that ends with Run.
type memory struct {
	cfg    Config
	source *source
	at     mark
	tries  int
}

func (m *memory) read(ctx context.Context, limit int) (page, error) {
	return m.source.after(ctx, m.at, m.cfg.Filter, limit)
}

func (m *memory) move(_ context.Context, _ DB, _ Cursor, to mark) error {
	m.at, m.tries = to, 0
	return nil
}

func (m *memory) failed(_ context.Context, _ Cursor, _ error, counts bool) (int, error) {
	if counts {
		m.tries++
	}
	return m.tries, nil
}

// row is a place in iu_outbox.consumer. Each read begins at the cursor in the row, and so follows an operator's reset or
// another process's progress at once. Each move requires that the row still has the cursor that was read, and that this
// process has the lease: a process that lost it cannot move the cursor.
//
// If the database is set back, the row is set back with it and looks valid. So the process remembers how far it has read. If
// the history no longer contains that place, it was rewound; otherwise an operator moved the cursor.
type row struct {
	cfg      Config
	source   *source
	process  string
	goesBack bool // see subscriber
	logger   *slog.Logger
	seen     mark // how far the consumer has read, as this process knows
	known    bool // whether seen is set
}

func (r *row) read(ctx context.Context, limit int) (page, error) {
	p, err := r.page(ctx, limit)
	switch {
	case errors.Is(err, errNoRow):
		if err := r.verify(ctx); err != nil {
			return p, err
		}
		return p, absent(ctx, r.cfg.Pool, fmt.Errorf("%w %q: it was deleted while it ran", ErrNoConsumer, r.cfg.Consumer))
	case err != nil:
		return p, err
	case !r.known && p.after.Epoch != p.end.Epoch && p.known != nil:
		r.logger.WarnContext(ctx, "Subscriber: the database was restored, failed over or copied since this consumer last moved; "+
			"what it handled after the common position before that, if anything, is not part of this history",
			slog.String("cursor", p.after.String()), slog.Int64("common_until", *p.known), slog.String("end", p.end.String()))
	}
	return p, r.check(ctx, p.after)
}

// page reads the events after the cursor in the row. The row is on the primary, and the events may be read from a standby.
func (r *row) page(ctx context.Context, limit int) (p page, err error) {
	if !r.source.replica.HasStandby() {
		return readPage(ctx, r.cfg.Pool, ownHistory, pageConsumerSQL, r.cfg.Filter, limit, r.cfg.Consumer)
	}
	var at mark
	var tries int
	var replay bool
	err = r.cfg.Pool.QueryRow(ctx, `SELECT COALESCE(r.epoch, ''), r.position, COALESCE(r.id, ''), r.tries, r.replay FROM (`+
		fmt.Sprintf(consumerRowSQL, "$1")+`) AS r`, r.cfg.Consumer).Scan(&at.Epoch, &at.Position, &at.id, &tries, &replay)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, errNoRow
	}
	if err != nil {
		return p, fmt.Errorf("read the consumer: %w", err)
	}
	p, err = r.source.after(ctx, at, r.cfg.Filter, limit)
	p.tries, p.replay = tries, replay
	return p, err
}

// observe reads the consumer's position while another process works for it.
func (r *row) observe(ctx context.Context) error {
	var at mark
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	err := r.cfg.Pool.QueryRow(ctx, `
		SELECT c.epoch, c.position, COALESCE(c.last_event_id::text, '') FROM iu_outbox.consumer AS c WHERE c.name = $1`, r.cfg.Consumer).
		Scan(&at.Epoch, &at.Position, &at.id)
	if err == nil {
		err = r.check(ctx, at)
	}
	if errors.Is(err, ErrRewound) {
		return named(r.cfg.Consumer, err)
	}
	return nil // requests for the lease report other errors
}

// check compares the consumer's cursor with seen, and returns a RewoundError if the history was rewound.
func (r *row) check(ctx context.Context, at mark) error {
	if r.cfg.Resume != nil {
		return nil // what it asks decides
	}
	if r.known && at.Cursor == r.seen.Cursor && !differ(r.seen.id, at.id) {
		return nil
	}
	if r.known {
		if err := r.verify(ctx); err != nil {
			if !errors.Is(err, ErrRewound) {
				return err
			}
			if !r.goesBack {
				return fmt.Errorf("%w; the consumer was set back as well: start it again; it continues after %s", err, at.Cursor)
			}
			r.logger.WarnContext(ctx, "Subscriber: the database was set back, and the consumer with all of its effects; going on from there",
				slog.String("from", r.seen.String()), slog.String("to", at.String()))
		}
	}
	r.seen, r.known = at, true
	return nil
}

// verify returns a RewoundError if the current history does not contain seen.
func (r *row) verify(ctx context.Context) error {
	if !r.known {
		return nil
	}
	_, err := resolve(ctx, r.cfg.Pool, r.source.knowledge(), Start{kind: startAfter, after: r.seen})
	if errors.Is(err, ErrPruned) || errors.Is(err, errNotHere) {
		return nil
	}
	return rewound(err)
}

// move sets seen even if it fails, because the handler has handled the events.
func (r *row) move(ctx context.Context, db DB, from Cursor, to mark) error {
	r.seen, r.known = to, true
	tag, err := db.Exec(ctx, `
		UPDATE iu_outbox.consumer AS c
		SET epoch = $4, position = $5, last_event_id = NULLIF($7::text, '')::uuid, tries = 0, last_error = NULL, last_error_at = NULL,
		    updated_at = pg_catalog.clock_timestamp()
		WHERE c.name = $1 AND c.epoch = $2 AND c.position = $3
		  AND EXISTS (SELECT FROM iu_outbox.consumer_lease AS l WHERE l.consumer = $1 AND l.process = $6)`,
		r.cfg.Consumer, from.Epoch, from.Position, to.Epoch, to.Position, r.process, to.id)
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
			SET tries = c.tries + $4::boolean::int, last_error = $5, last_error_at = pg_catalog.clock_timestamp()
			WHERE c.name = $1 AND c.epoch = $2 AND c.position = $3
			RETURNING c.tries)
		SELECT COALESCE((SELECT n.tries FROM noted AS n), 0)`,
		r.cfg.Consumer, from.Epoch, from.Position, counts, message(cause)).Scan(&tries)
	if err != nil {
		return 0, fmt.Errorf("note the failure: %w", err)
	}
	return tries, nil
}

// message returns an error's text in a form that the column accepts: valid UTF-8 without NUL, at most 2,000 characters.
func message(err error) string {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "\uFFFD")
	const limit = 2000
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "..."
	}
	return text
}

// open creates the consumer if it does not exist.
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
	if dbsession.ReadOnlyError(err) {
		err = needsPrimary(err)
	}
	if err != nil {
		return false, fmt.Errorf("open consumer %q: %w", r.cfg.Consumer, err)
	}
	return created, nil
}
