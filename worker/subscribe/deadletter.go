package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

// ConsumerDeadLetter is an event for which a consumer's handler failed Retry.MaxTries times.
type ConsumerDeadLetter struct {
	ID        int64     `json:"id"`
	Consumer  string    `json:"consumer"`
	Cursor    Cursor    `json:"cursor"`
	Tries     int       `json:"tries"`
	Error     string    `json:"error"` // the last one
	CreatedAt time.Time `json:"created_at"`
	// ReplayRequestedAt is when a replay was requested. The replay deletes the dead letter, or clears ReplayRequestedAt and
	// records the new error.
	ReplayRequestedAt *time.Time `json:"replay_requested_at,omitempty"`
	Event             Event      `json:"-"`
}

// ListDeadLetters returns up to limit dead letters of a consumer, oldest first.
func ListDeadLetters(ctx context.Context, db DB, consumer string, limit int) ([]ConsumerDeadLetter, error) {
	rows, _ := db.Query(ctx, `
		SELECT d.id, d.consumer, d.epoch, d.position, d.tries, d.error, d.created_at, d.replay_requested_at, d.event::text
		FROM iu_outbox.consumer_dead_letter AS d WHERE d.consumer = $1 ORDER BY d.id LIMIT $2`, consumer, limit) // CollectRows returns its error
	letters, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d ConsumerDeadLetter, err error) {
		var text string
		if err := row.Scan(&d.ID, &d.Consumer, &d.Cursor.Epoch, &d.Cursor.Position, &d.Tries, &d.Error, &d.CreatedAt, &d.ReplayRequestedAt, &text); err != nil {
			return d, err
		}
		d.Event, err = ParseEvent([]byte(text))
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return letters, nil
}

// ReplayDeadLetters requests that the consumer's process handle dead letters again, all of them if no ids are given, and
// returns their number. A running process begins within its poll interval; a starting one does this first. Each dead letter
// is tried once, and then deleted or kept with the new error.
func ReplayDeadLetters(ctx context.Context, db DB, consumer string, ids ...int64) (int, error) {
	return changeDeadLetters(ctx, db, "replay dead letters",
		"UPDATE iu_outbox.consumer_dead_letter AS d SET replay_requested_at = pg_catalog.clock_timestamp()", consumer, ids)
}

// DropDeadLetters deletes dead letters permanently, all of a consumer's if no ids are given, and returns their number.
func DropDeadLetters(ctx context.Context, db DB, consumer string, ids ...int64) (int, error) {
	return changeDeadLetters(ctx, db, "drop dead letters", "DELETE FROM iu_outbox.consumer_dead_letter AS d", consumer, ids)
}

// changeDeadLetters runs a statement on dead letters of a consumer, or on all of them if there are no ids.
func changeDeadLetters(ctx context.Context, db DB, doing, statement, consumer string, ids []int64) (int, error) {
	tag, err := db.Exec(ctx, statement+`
		WHERE d.consumer = $1 AND (COALESCE(pg_catalog.cardinality($2::bigint[]), 0) = 0 OR d.id = ANY ($2))`, consumer, ids)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	return int(tag.RowsAffected()), nil
}

func keepDeadLetter(ctx context.Context, db DB, consumer string, event Event, tries int, cause error) error {
	_, err := db.Exec(ctx, `
		INSERT INTO iu_outbox.consumer_dead_letter AS d (consumer, epoch, position, event, tries, error)
		VALUES ($1, $2, $3, $4::text::jsonb, $5, $6)
		ON CONFLICT (consumer, position, epoch) DO UPDATE
		SET event = EXCLUDED.event, tries = EXCLUDED.tries, error = EXCLUDED.error, created_at = pg_catalog.now(),
		    replay_requested_at = NULL`,
		consumer, event.Cursor.Epoch, event.Cursor.Position, string(event.JSON), tries, message(cause))
	if err != nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	return nil
}

// replay tries the first dead letter whose replay was requested, once.
func (s *subscriber) replay(ctx context.Context) error {
	var id int64
	var event Event
	err := s.try(ctx, func(ctx context.Context) (err error) {
		id, event, err = s.nextReplay(ctx)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // dropped or handled in the meantime
	}
	if err != nil {
		return err
	}
	err = s.attempt(ctx, s, []Event{event}, func(ctx context.Context, db DB) error { return ackReplay(ctx, db, id) })
	if err != nil {
		return s.replayFailed(ctx, id, event, err)
	}
	s.handled++
	s.logger.InfoContext(ctx, "Subscriber: handled a dead letter", slog.String("cursor", event.Cursor.String()))
	return nil
}

// nextReplay returns the event as it is in the history now: its instance may have been rolled back since.
func (s *subscriber) nextReplay(ctx context.Context) (int64, Event, error) {
	var id int64
	var text string
	err := s.cfg.Pool.QueryRow(ctx, `
		SELECT d.id, COALESCE((
			SELECT e.event FROM iu_outbox.emission AS e
			WHERE e.position = d.position AND e.event ->> 'cursor' = d.event ->> 'cursor'
			  AND e.event ->> 'id' = d.event ->> 'id'), d.event)::text
		FROM iu_outbox.consumer_dead_letter AS d
		WHERE d.consumer = $1 AND d.replay_requested_at IS NOT NULL
		ORDER BY d.id LIMIT 1`, s.cfg.Consumer).Scan(&id, &text)
	if err != nil {
		return 0, Event{}, fmt.Errorf("read a dead letter: %w", err)
	}
	event, err := ParseEvent([]byte(text))
	event.Replayed = true
	return id, event, err
}

// ackReplay deletes a dead letter that was handled. It returns errMoved if the dead letter was deleted or its request withdrawn
// in the meantime.
func ackReplay(ctx context.Context, db DB, id int64) error {
	tag, err := db.Exec(ctx, `
		DELETE FROM iu_outbox.consumer_dead_letter AS d WHERE d.id = $1 AND d.replay_requested_at IS NOT NULL`, id)
	if err != nil {
		return fmt.Errorf("drop a dead letter that was handled: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errMoved
	}
	return nil
}

// replayFailed keeps the dead letter with its new error. Transient errors are retried.
func (s *subscriber) replayFailed(ctx context.Context, id int64, event Event, cause error) error {
	var stop *stopError
	var blamed *handlerError
	if errors.As(cause, &stop) || !errors.As(cause, &blamed) || isAgain(cause) || retry.MayPass(cause) || ctx.Err() != nil {
		return s.failed(ctx, event.Cursor, []Event{event}, cause)
	}
	s.unsettle(ResumeFailed)
	s.logger.WarnContext(ctx, "Subscriber: the handler failed for a dead letter again", s.about([]Event{event}, 1, 0, cause)...)
	err := s.try(ctx, func(ctx context.Context) error {
		_, err := s.cfg.Pool.Exec(ctx, `
			UPDATE iu_outbox.consumer_dead_letter AS d
			SET replay_requested_at = NULL, tries = d.tries + 1, error = $2 WHERE d.id = $1`, id, message(cause))
		return err
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	return err
}
