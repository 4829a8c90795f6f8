package operate

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// ConsumerMove describes a reset of a consumer. It is also the detail of the audit line.
type ConsumerMove struct {
	Consumer string           `json:"consumer"`
	From     subscribe.Cursor `json:"from"`
	To       subscribe.Cursor `json:"to"`
	Skipped  int64            `json:"skipped"` // retained events that it has not handled and will not receive
	Again    int64            `json:"again"`   // events that it receives again
}

// PlanReset returns what a reset would do. Pass After(To) to ResetConsumer: by then, "now" may be a later position.
func PlanReset(ctx context.Context, db subscribe.DB, name string, to subscribe.Start) (ConsumerMove, error) {
	move := ConsumerMove{Consumer: name}
	consumer, err := subscribe.FindConsumer(ctx, db, name)
	if err != nil {
		return move, err
	}
	move.From = consumer.Cursor
	if move.To, err = subscribe.Resolve(ctx, db, to); err != nil {
		return move, err
	}
	from := consumer.Cursor
	if consumer.State != "ok" { // its position is lost: everything that is retained is new to it
		if from, err = subscribe.Resolve(ctx, db, subscribe.Beginning()); err != nil {
			return move, err
		}
	}
	move.Skipped = max(0, move.To.Position-from.Position)
	if consumer.State == "ok" {
		move.Again = max(0, from.Position-move.To.Position)
	}
	return move, nil
}

// ResetConsumer moves a consumer to another position. If that would skip more than most events, it returns a NotAsSeenError. A
// process that works for the consumer continues from there after its current event.
func (o Operator) ResetConsumer(ctx context.Context, name string, to subscribe.Start, most int64) (move ConsumerMove, err error) {
	err = o.change(ctx, "consumer.reset", func(tx pgx.Tx) (any, error) {
		if _, err := tx.Exec(ctx, "SELECT FROM iu_outbox.consumer AS c WHERE c.name = $1 FOR NO KEY UPDATE", name); err != nil {
			return nil, fmt.Errorf("lock consumer %q: %w", name, err)
		}
		if move, err = PlanReset(ctx, tx, name, to); err != nil {
			return nil, err
		}
		if move.Skipped > most {
			return nil, &NotAsSeenError{move.Skipped, fmt.Sprintf("%d events would be skipped now", move.Skipped)}
		}
		move.To, err = subscribe.ResetConsumer(ctx, tx, name, subscribe.After(move.To))
		return move, err
	})
	return move, err
}

// DeleteConsumer deletes a consumer. seen is the consumer as it was shown to the user. If the consumer has gained dead letters
// or a process since, or was moved back, DeleteConsumer returns a NotAsSeenError.
func (o Operator) DeleteConsumer(ctx context.Context, seen subscribe.Consumer, force bool) error {
	return o.change(ctx, "consumer.delete", func(tx pgx.Tx) (any, error) {
		now, err := subscribe.FindConsumer(ctx, tx, seen.Name)
		switch {
		case err != nil:
			return nil, err
		case now.DeadLetters > seen.DeadLetters:
			return nil, &NotAsSeenError{now.DeadLetters, fmt.Sprintf("the consumer has %d dead letters now", now.DeadLetters)}
		case now.Cursor.Position < seen.Cursor.Position:
			return nil, &NotAsSeenError{Says: fmt.Sprintf("the consumer was moved back to %s", now.Cursor)}
		case now.Process != nil && seen.Process == nil:
			return nil, &NotAsSeenError{Says: *now.Process + " works for the consumer now"}
		}
		return map[string]any{
			"consumer": now.Name, "force": force, "at": now.Cursor, "lag_events": now.LagEvents, "dead_letters": now.DeadLetters,
		}, subscribe.DeleteConsumer(ctx, tx, now.Name, force)
	})
}

// ReplayConsumerLetters asks the consumer's process to handle the dead letters with these ids again, or all if none are given. It
// returns how many there are.
func (o Operator) ReplayConsumerLetters(ctx context.Context, name string, ids ...int64) (int, error) {
	return o.changeConsumerLetters(ctx, "consumer.replay", name, ids, math.MaxInt64, subscribe.ReplayDeadLetters)
}

// DropConsumerLetters deletes the dead letters of a consumer with these ids, or all if none are given, and returns how many. If
// there are more than most, it returns a NotAsSeenError.
func (o Operator) DropConsumerLetters(ctx context.Context, name string, most int64, ids ...int64) (int, error) {
	return o.changeConsumerLetters(ctx, "consumer.drop", name, ids, most, subscribe.DropDeadLetters)
}

func (o Operator) changeConsumerLetters(ctx context.Context, action, name string, ids []int64, most int64,
	change func(context.Context, subscribe.DB, string, ...int64) (int, error),
) (n int, err error) {
	err = o.change(ctx, action, func(tx pgx.Tx) (any, error) {
		if _, err = subscribe.FindConsumer(ctx, tx, name); err != nil {
			return nil, err
		}
		n, err = change(ctx, tx, name, ids...)
		switch {
		case err != nil:
			return nil, err
		case n == 0:
			return nil, errUnchanged
		case int64(n) > most:
			return nil, &NotAsSeenError{int64(n), fmt.Sprintf("there are %d dead letters now", n)}
		}
		detail := map[string]any{"consumer": name, "count": n}
		if len(ids) > 0 {
			detail["ids"] = ids
		}
		return detail, nil
	})
	return n, err
}
