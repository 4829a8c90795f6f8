package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
)

// Listener is a subscriber with a plain connection. Not safe for concurrent use.
type Listener struct {
	conn  *pgx.Conn
	Heard map[uuid.UUID]Heard // by event id
}

// Heard is an event that was received.
type Heard struct {
	Cursor string
	At     time.Time
}

// Listen connects and listens.
func Listen(ctx context.Context, cfg *pgx.ConnConfig) (*Listener, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to listen: %w", err)
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{names.EventType}.Sanitize()); err != nil {
		_ = conn.Close(ctx) // the error that matters is err
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Listener{conn: conn, Heard: make(map[uuid.UUID]Heard)}, nil
}

// Wait waits until an event of each order was received, or ctx ends.
func (l *Listener) Wait(ctx context.Context, orders []Order) error {
	missing := make(map[uuid.UUID]bool, len(orders))
	for _, order := range orders {
		missing[order.EventID] = true
	}
	for len(missing) > 0 {
		notification, err := l.conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("wait for events: %w", err)
		}
		heard := Heard{At: time.Now()}
		var id uuid.UUID
		if id, heard.Cursor, err = l.read(ctx, notification.Payload); err != nil {
			return err
		}
		if missing[id] {
			l.Heard[id] = heard
			delete(missing, id)
		}
	}
	return nil
}

// read returns the application's id and the cursor of the event that a notification announces. Every notification of ours has
// the cursor; the row has the rest. Any login can notify: read returns no id for the notifications of others.
func (l *Listener) read(ctx context.Context, payload string) (id uuid.UUID, cursor string, err error) {
	var bell struct {
		Cursor string `json:"cursor"`
	}
	if err := json.Unmarshal([]byte(payload), &bell); err != nil {
		return id, "", nil //nolint:nilerr // not ours
	}
	err = l.conn.QueryRow(ctx, `
		SELECT (e.event #>> '{data,event_id}')::uuid FROM iu_outbox.emission AS e
		WHERE e.position = pg_catalog.substring($1::text, '^[0-9a-f]{8}-([0-9]{1,18})$')::bigint
		  AND e.event ->> 'cursor' = $1`, bell.Cursor).Scan(&id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return id, "", fmt.Errorf("read event %q: %w", bell.Cursor, err)
	}
	return id, bell.Cursor, nil
}

// Close ends the connection.
func (l *Listener) Close(ctx context.Context) { _ = l.conn.Close(ctx) } // it only read
