package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/names"
)

// Orders is how many events the demo inserts.
const Orders = 12

// Order is one event and its outcome.
type Order struct {
	EventID     uuid.UUID `json:"event_id"`
	Suffix      string    `json:"instance_key_suffix"`
	InstanceID  uuid.UUID `json:"instance_collection_id"`
	InstanceKey string    `json:"instance_key"`
	Pieces      int       `json:"piece_count"`
	Cursor      string    `json:"cursor"`      // of the event that was received
	AfterMS     float64   `json:"received_ms"` // from the commit of the insert to the event
}

// Insert inserts the orders in one transaction, and returns them and the time of the commit.
func Insert(ctx context.Context, pool *pgxpool.Pool) (orders []Order, committed time.Time, err error) {
	tag := make([]byte, 3)
	_, _ = rand.Read(tag) // never fails
	for n := 1; n <= Orders; n++ {
		orders = append(orders, Order{EventID: uuid.New(), Suffix: fmt.Sprintf("%s-order-%x-%02d", TemplateKey, tag, n)})
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, order := range orders {
			_, err := tx.Exec(ctx, `
				INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
				VALUES ($1, 'order.placed', (SELECT t.id FROM iu_outbox.template AS t WHERE t.collection_key = $4), $2, $3)`,
				order.EventID, order.Suffix, Actor, TemplateKey)
			if err != nil {
				return fmt.Errorf("insert the event %s: %w", order.EventID, err)
			}
		}
		return nil
	})
	return orders, time.Now(), err
}

// Compare sets what was composed for each order, and returns how many were.
func Compare(ctx context.Context, pool *pgxpool.Pool, orders []Order) (composed int, err error) {
	for i := range orders {
		order := &orders[i]
		err := pool.QueryRow(ctx, `
			SELECT c.id, c.collection_key, (SELECT pg_catalog.count(*) FROM public.iu_piece_membership AS m
			                                WHERE m.collection_id = c.id AND m.is_active)
			FROM public.iu_auto_instantiate_event_log AS l
			JOIN public.iu_piece_collection AS c ON c.id = l.instance_collection_id
			WHERE l.event_id = $1`, order.EventID).Scan(&order.InstanceID, &order.InstanceKey, &order.Pieces)
		switch {
		case err == nil:
			composed++
		case !errors.Is(err, pgx.ErrNoRows):
			return composed, fmt.Errorf("look up the instance of event %s: %w", order.EventID, err)
		}
	}
	return composed, nil
}

// Listener is a subscriber with a plain connection. It is not safe for concurrent use.
type Listener struct {
	conn     *pgx.Conn
	Received int // events of orders
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
	return &Listener{conn: conn}, nil
}

// Wait waits until an event of each order was received, and sets its cursor and time.
func (l *Listener) Wait(ctx context.Context, orders []Order, committed time.Time) error {
	for l.Received < len(orders) {
		notification, err := l.conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("wait for events: %w", err)
		}
		after := time.Since(committed)
		id, cursor, err := l.read(ctx, notification.Payload)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(orders, func(order Order) bool { return order.EventID == id && order.Cursor == "" })
		if i >= 0 {
			orders[i].Cursor, orders[i].AfterMS = cursor, float64(after.Microseconds())/1000
			l.Received++
		}
	}
	return nil
}

// read returns the application's id and the cursor of the event that a notification announces. Any login can notify: read returns
// no id for a notification that is not ours.
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
