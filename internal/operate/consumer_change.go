package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// ErrMoreThanSeen means that a change would destroy or skip more than was shown to the user who confirmed it.
var ErrMoreThanSeen = errors.New("more than was confirmed")

// ConsumerMove is a reset of a consumer, and the detail of its audit line.
type ConsumerMove struct {
	Consumer string           `json:"consumer"`
	From     subscribe.Cursor `json:"from"`
	To       subscribe.Cursor `json:"to"`
	Skipped  int64            `json:"skipped"` // retained events that it has not handled and never receives
	Again    int64            `json:"again"`   // events that it receives again
}

// PlanReset returns what a reset would do. Pass After(To) to ResetConsumer: "now" moves on in the meantime.
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

// ResetConsumer moves a consumer if that skips no more than most events, else it returns ErrMoreThanSeen. A process that
// works for the consumer continues from there after its current event. The caller records the audit line in tx.
func ResetConsumer(ctx context.Context, tx pgx.Tx, name string, to subscribe.Start, most int64) (ConsumerMove, error) {
	if _, err := tx.Exec(ctx, "SELECT FROM iu_outbox.consumer AS c WHERE c.name = $1 FOR NO KEY UPDATE", name); err != nil {
		return ConsumerMove{}, fmt.Errorf("lock consumer %q: %w", name, err)
	}
	move, err := PlanReset(ctx, tx, name, to)
	if err != nil {
		return move, err
	}
	if move.Skipped > most {
		return move, fmt.Errorf("%w: %d events would be skipped", ErrMoreThanSeen, move.Skipped)
	}
	move.To, err = subscribe.ResetConsumer(ctx, tx, name, subscribe.After(move.To))
	return move, err
}

// ConsumerDeletion is the deletion of a consumer, and the detail of its audit line.
type ConsumerDeletion struct {
	Consumer    string           `json:"consumer"`
	Force       bool             `json:"force"`
	At          subscribe.Cursor `json:"at"`
	LagEvents   *int64           `json:"lag_events"` // nil: its position was lost
	DeadLetters int64            `json:"dead_letters"`
}

// DeleteConsumer deletes a consumer. seen is the consumer as it was shown to the user; if it has more dead letters since, was
// moved back, or got a process, DeleteConsumer returns ErrMoreThanSeen. The caller records the audit line in tx.
func DeleteConsumer(ctx context.Context, tx pgx.Tx, seen subscribe.Consumer, force bool) (ConsumerDeletion, error) {
	done := ConsumerDeletion{Consumer: seen.Name, Force: force}
	now, err := subscribe.FindConsumer(ctx, tx, seen.Name)
	if err != nil {
		return done, err
	}
	switch {
	case now.DeadLetters > seen.DeadLetters:
		return done, fmt.Errorf("%w: the consumer has %d dead letters now", ErrMoreThanSeen, now.DeadLetters)
	case now.Cursor.Position < seen.Cursor.Position:
		return done, fmt.Errorf("%w: the consumer was moved back to %s", ErrMoreThanSeen, now.Cursor)
	case now.Process != nil && seen.Process == nil:
		return done, fmt.Errorf("%w: %s works for the consumer now", ErrMoreThanSeen, *now.Process)
	}
	done.At, done.LagEvents, done.DeadLetters = now.Cursor, now.LagEvents, now.DeadLetters
	return done, subscribe.DeleteConsumer(ctx, tx, seen.Name, force)
}

// ConsumerLetters is a change of a consumer's dead letters, and the detail of its audit line.
type ConsumerLetters struct {
	Consumer string  `json:"consumer"`
	Count    int     `json:"count"`
	IDs      []int64 `json:"ids,omitempty"` // empty: all that there were
}

// ReplayConsumerLetters asks the consumer's process to handle dead letters again, all of them without ids. The caller records
// the audit line in tx.
func ReplayConsumerLetters(ctx context.Context, tx pgx.Tx, name string, ids ...int64) (ConsumerLetters, error) {
	return changeConsumerLetters(ctx, tx, subscribe.ReplayDeadLetters, name, ids)
}

// DropConsumerLetters deletes dead letters, all of them without ids. If that are more than most, it returns ErrMoreThanSeen.
// The caller records the audit line in tx.
func DropConsumerLetters(ctx context.Context, tx pgx.Tx, name string, most int64, ids ...int64) (ConsumerLetters, error) {
	done, err := changeConsumerLetters(ctx, tx, subscribe.DropDeadLetters, name, ids)
	if err == nil && int64(done.Count) > most {
		return done, fmt.Errorf("%w: there are %d dead letters now", ErrMoreThanSeen, done.Count)
	}
	return done, err
}

func changeConsumerLetters(ctx context.Context, tx pgx.Tx,
	change func(context.Context, subscribe.DB, string, ...int64) (int, error), name string, ids []int64,
) (ConsumerLetters, error) {
	done := ConsumerLetters{Consumer: name, IDs: ids}
	if _, err := subscribe.FindConsumer(ctx, tx, name); err != nil {
		return done, err
	}
	var err error
	done.Count, err = change(ctx, tx, name, ids...)
	return done, err
}
