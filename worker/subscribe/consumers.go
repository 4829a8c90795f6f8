package subscribe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Consumer is the state of a durable consumer, for operators.
type Consumer struct {
	Name   string `json:"name"`
	Cursor Cursor `json:"cursor"`
	// State is ok, rewound or beyond_end (a restore or failover lost the cursor's position), or pruned (the next events
	// are no longer kept). A consumer that is not ok needs a reset.
	State string `json:"state"`
	// LagEvents is the number of announced events after Cursor, whatever the filter; nil if State is not ok.
	LagEvents *int64 `json:"lag_events"`
	// LagSeconds is how long the first of these events has been waiting; nil if State is not ok.
	LagSeconds *float64 `json:"lag_seconds"`
	// Process is the active process; nil if there is none.
	Process      *string    `json:"process"`
	ProcessSince *time.Time `json:"process_since"`
	ActiveAt     time.Time  `json:"active_at"` // when Cursor last moved or a process was last active
	Tries        int        `json:"tries"`     // failed tries for the event after Cursor
	LastError    *string    `json:"last_error"`
	LastErrorAt  *time.Time `json:"last_error_at"`
	DeadLetters  int64      `json:"dead_letters"`
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"` // when Cursor last moved
	// ExpiresSeconds is how long the events after Cursor are guaranteed to be kept, counting only time in which a worker
	// runs. Nil if a process is active, if all events are kept forever, or if State is not ok.
	ExpiresSeconds *float64 `json:"expires_seconds"`
	// Expiring reports whether ExpiresSeconds is at most a day, or half of the consumer expiry.
	Expiring bool `json:"expiring"`
}

const consumerSQL = `
	SELECT s.name, s.epoch, s.position, s.state, s.lag_events, s.lag_seconds, s.process, s.process_since, s.active_at,
	       s.tries, s.last_error, s.last_error_at, s.dead_letters, s.created_at, s.updated_at,
	       s.expires_seconds, s.expiring
	FROM iu_outbox.consumer_status AS s`

// ListConsumers returns all consumers, ordered by name.
func ListConsumers(ctx context.Context, db DB) ([]Consumer, error) {
	return readConsumers(ctx, db, consumerSQL+" ORDER BY s.name")
}

// FindConsumer returns the consumer of a name. The error wraps ErrNoConsumer if there is none.
func FindConsumer(ctx context.Context, db DB, name string) (Consumer, error) {
	found, err := readConsumers(ctx, db, consumerSQL+" WHERE s.name = $1", name)
	if err != nil {
		return Consumer{}, err
	}
	if len(found) == 0 {
		return Consumer{}, absent(ctx, db, noConsumer(name))
	}
	return found[0], nil
}

func readConsumers(ctx context.Context, db DB, sql string, args ...any) ([]Consumer, error) {
	rows, _ := db.Query(ctx, sql, args...) // CollectRows returns its error
	consumers, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Consumer, err error) {
		err = row.Scan(&c.Name, &c.Cursor.Epoch, &c.Cursor.Position, &c.State, &c.LagEvents, &c.LagSeconds, &c.Process,
			&c.ProcessSince, &c.ActiveAt, &c.Tries, &c.LastError, &c.LastErrorAt, &c.DeadLetters, &c.CreatedAt, &c.UpdatedAt, &c.ExpiresSeconds, &c.Expiring)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	return consumers, nil
}

// ResetConsumer moves a consumer back or forward, clears its last error, and returns its new cursor. Its active process
// finishes the events that it is handling and continues there. The zero Start is Beginning. The error wraps ErrNoConsumer if
// there is no consumer of that name.
func ResetConsumer(ctx context.Context, db DB, name string, to Start) (Cursor, error) {
	if to.kind == startDefault {
		to = Beginning()
	}
	c, err := Resolve(ctx, db, to)
	if err != nil {
		return c, err
	}
	tag, err := db.Exec(ctx, `
		UPDATE iu_outbox.consumer AS c
		SET epoch = $2, position = $3, last_event_id = NULL, tries = 0, last_error = NULL, last_error_at = NULL,
		    updated_at = pg_catalog.clock_timestamp()
		WHERE c.name = $1`, name, c.Epoch, c.Position)
	if err != nil {
		return c, fmt.Errorf("reset consumer %q: %w", name, err)
	}
	if tag.RowsAffected() == 0 {
		return c, absent(ctx, db, noConsumer(name))
	}
	return c, nil
}

func noConsumer(name string) error {
	return fmt.Errorf("%w %q; to list the consumers, run: iuworker consumers", ErrNoConsumer, name)
}

// DeleteConsumer deletes a consumer with its cursor and its dead letters. Without force it refuses to delete one that has an
// active process (ErrConsumerActive) or dead letters (ErrDeadLetters). Processes that run with the name return ErrNoConsumer.
// The error wraps ErrNoConsumer if there is no consumer of that name.
func DeleteConsumer(ctx context.Context, db DB, name string, force bool) error {
	var process *string
	var letters int64
	var deleted bool
	err := db.QueryRow(ctx, `
		WITH asked AS MATERIALIZED (
			SELECT s.name, s.process, s.dead_letters FROM iu_outbox.consumer_status AS s WHERE s.name = $1
		), deleted AS (
			DELETE FROM iu_outbox.consumer AS c USING asked AS a
			WHERE c.name = a.name AND ($2 OR (a.process IS NULL AND a.dead_letters = 0))
			RETURNING c.name
		)
		SELECT a.process, a.dead_letters, EXISTS (SELECT FROM deleted) FROM asked AS a`, name, force).
		Scan(&process, &letters, &deleted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return absent(ctx, db, noConsumer(name))
	case err != nil:
		return fmt.Errorf("delete consumer %q: %w", name, err)
	case deleted:
		return nil
	}
	if err := Deletable(Consumer{Name: name, Process: process, DeadLetters: letters}, force); err != nil {
		return err
	}
	return noConsumer(name) // deleted in the meantime
}

// Deletable returns the error with which DeleteConsumer would refuse to delete a consumer, or nil if it would delete it.
func Deletable(c Consumer, force bool) error {
	switch {
	case force:
		return nil
	case c.Process != nil:
		return fmt.Errorf("%w: process %s uses %q; stop it first, or pass --force", ErrConsumerActive, *c.Process, c.Name)
	case c.DeadLetters > 0:
		return fmt.Errorf("%w: %q has %d; replay or drop them first, or pass --force", ErrDeadLetters, c.Name, c.DeadLetters)
	}
	return nil
}
