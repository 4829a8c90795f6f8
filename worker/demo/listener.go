package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Channel is where instances are announced.
const Channel = "iu.template.instance_auto_composed"

// Listener is a subscriber with a plain connection. Not safe for concurrent use.
type Listener struct {
	conn  *pgx.Conn
	Heard map[uuid.UUID]Heard // by event id
}

// Heard is an event that came.
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
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{Channel}.Sanitize()); err != nil {
		_ = conn.Close(ctx) // the error that matters is err
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Listener{conn: conn, Heard: make(map[uuid.UUID]Heard)}, nil
}

// Wait listens until there was an event for each order, or ctx ends.
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
		var event struct {
			Cursor string `json:"cursor"`
			Data   struct {
				EventID uuid.UUID `json:"event_id"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(notification.Payload), &event); err != nil {
			continue // any login can notify; this is nothing of ours
		}
		if missing[event.Data.EventID] {
			l.Heard[event.Data.EventID] = Heard{Cursor: event.Cursor, At: time.Now()}
			delete(missing, event.Data.EventID)
		}
	}
	return nil
}

// Close ends the connection.
func (l *Listener) Close(ctx context.Context) { _ = l.conn.Close(ctx) } // it only read
