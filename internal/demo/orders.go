package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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

// Insert inserts the orders, and returns them and the time of the commit.
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

// Compare sets the outcome of each order, and returns how many were composed.
func Compare(ctx context.Context, pool *pgxpool.Pool, orders []Order, heard map[uuid.UUID]Heard, committed time.Time) (composed int, err error) {
	for i := range orders {
		order := &orders[i]
		if h, ok := heard[order.EventID]; ok {
			order.Cursor = h.Cursor
			order.AfterMS = float64(h.At.Sub(committed).Microseconds()) / 1000
		}
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
			return composed, fmt.Errorf("look for the instance of event %s: %w", order.EventID, err)
		}
	}
	return composed, nil
}
