package subscribe

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

// attempt calls the handler and acknowledges the events if the handler succeeds.
type attempt func(ctx context.Context, s *subscriber, events []Event, ack ack) error

// ack acknowledges handled events: it moves the cursor or deletes a dead letter, on db.
type ack func(ctx context.Context, db DB) error

// ackTimeout bounds an acknowledgement, which continues when ctx ends: a shutdown must not repeat an effect that has happened.
const ackTimeout = 10 * time.Second

// plainAttempt returns an attempt that acknowledges the events after the handler has returned nil.
func plainAttempt(handler BatchHandler) attempt {
	return func(ctx context.Context, s *subscriber, events []Event, ack ack) error {
		if err := call(func() error { return handler(ctx, events) }); err != nil {
			return &handlerError{err}
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
		err := ack(end, s.cfg.Pool)
		cancel()
		if err == nil || !retry.MayPass(err) {
			return err
		}
		// The effect has happened: a short outage of the database must not repeat it.
		return s.try(ctx, func(ctx context.Context) error { return ack(ctx, s.cfg.Pool) })
	}
}

// txAttempt returns an attempt that calls the handler and acknowledges the events in one transaction.
func txAttempt(handler TxHandler) attempt {
	return func(ctx context.Context, s *subscriber, events []Event, ack ack) error {
		tx, err := s.cfg.Pool.Begin(ctx)
		if err != nil {
			return fmt.Errorf("begin the handler's transaction: %w", err)
		}
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
			defer cancel()
			_ = tx.Rollback(end) // no-op after a commit; if it fails, pgx closes the connection, which ends the transaction
		}()
		if err := call(func() error { return handler(ctx, handlerTx{tx}, events) }); err != nil {
			return &handlerError{err}
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
		defer cancel()
		if err := ack(end, tx); err != nil {
			return blame(err)
		}
		if err := tx.Commit(end); err != nil {
			return blame(fmt.Errorf("commit the handler's transaction: %w", err))
		}
		return nil
	}
}

// blame attributes an error to the handler's statements, unless it is an outage or a moved cursor.
func blame(err error) error {
	if errors.Is(err, errMoved) || retry.MayPass(err) {
		return err
	}
	return &handlerError{err}
}

// handlerTx is a transaction that the handler cannot end.
type handlerTx struct{ pgx.Tx }

var errNotYours = errors.New("the subscriber ends this transaction, not the handler")

func (handlerTx) Commit(context.Context) error   { return errNotYours }
func (handlerTx) Rollback(context.Context) error { return errNotYours }

// call calls a handler and returns a panic as a *PanicError.
func call(handler func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: string(debug.Stack())}
		}
	}()
	return handler()
}

// handle passes a page's events to the handler, together or one by one. After a failure the rest is read again.
func (s *subscriber) handle(ctx context.Context, p page) error {
	from, rest := p.after.Cursor, p.events
	for len(rest) > 0 && ctx.Err() == nil {
		n := s.unit(rest)
		events := rest[:n]
		rest = rest[n:]
		to := markOf(events[n-1])
		if len(rest) == 0 {
			to = p.next // after the events that the filter left out at the end of the page
		}
		err := s.attempt(ctx, s, events, func(ctx context.Context, db DB) error { return s.place.move(ctx, db, from, to) })
		if err != nil {
			return s.failed(ctx, from, events, err)
		}
		s.failures = 0
		s.handled += n
		from, s.at = to.Cursor, to.Cursor
	}
	return ctx.Err()
}

// unit returns how many of the events the next call of the handler gets.
func (s *subscriber) unit(events []Event) int {
	if s.single || events[0].Cursor.Position <= s.suspicious {
		return 1
	}
	return len(events)
}

// move moves the cursor past events that the filter leaves out.
func (s *subscriber) move(ctx context.Context, from Cursor, to mark) error {
	err := s.try(ctx, func(ctx context.Context) error { return s.place.move(ctx, s.cfg.Pool, from, to) })
	if errors.Is(err, errMoved) {
		return s.moved(ctx, from)
	}
	s.at = to.Cursor
	return err
}
