package subscribe

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"
)

// attempt handles events and moves the cursor behind them, or does neither. settle, if it is not nil, takes the
// place of the cursor's move: for what is handled out of order.
type attempt func(ctx context.Context, s *subscriber, events []Event, settle settle) error

// settle makes an attempt count, on db: it moves the cursor, or drops a dead letter.
type settle func(ctx context.Context, db DB) error

// endTimeout bounds what makes an effect count that has happened; it goes on after the end of ctx, so that a shutdown
// does not repeat the effect.
const endTimeout = 10 * time.Second

// plainAttempt calls the handler, and settles when it has answered nil.
func plainAttempt(handler BatchHandler) attempt {
	return func(ctx context.Context, s *subscriber, events []Event, settle settle) error {
		if err := call(func() error { return handler(ctx, events) }); err != nil {
			return &handlerError{err}
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		err := settle(end, s.cfg.Pool)
		cancel()
		if err == nil || !mayPass(err) {
			return err
		}
		// The effect has happened: the handler need not repeat it because the database was away for a moment.
		return s.try(ctx, func(ctx context.Context) error { return settle(ctx, s.cfg.Pool) })
	}
}

// txAttempt calls the handler in a transaction, settles in it, and commits.
func txAttempt(handler TxHandler) attempt {
	return func(ctx context.Context, s *subscriber, events []Event, settle settle) error {
		tx, err := s.cfg.Pool.Begin(ctx)
		if err != nil {
			return fmt.Errorf("begin the handler's transaction: %w", err)
		}
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
			defer cancel()
			_ = tx.Rollback(end) // after a commit it does nothing; failing, the connection is closed and with it the transaction
		}()
		if err := call(func() error { return handler(ctx, handlerTx{tx}, events) }); err != nil {
			return &handlerError{err}
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		if err := settle(end, tx); err != nil {
			return blame(err)
		}
		if err := tx.Commit(end); err != nil {
			return blame(fmt.Errorf("commit the handler's transaction: %w", err))
		}
		return nil
	}
}

// blame tells what the handler's statements brought about from what happened to the database.
func blame(err error) error {
	if errors.Is(err, errMoved) || mayPass(err) {
		return err
	}
	return &handlerError{err}
}

// handlerTx keeps the handler from ending a transaction that is not its own.
type handlerTx struct{ pgx.Tx }

var errNotYours = errors.New("the subscriber ends this transaction, not the handler")

func (handlerTx) Commit(context.Context) error   { return errNotYours }
func (handlerTx) Rollback(context.Context) error { return errNotYours }

// call makes a handler's panic an error.
func call(handler func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: string(debug.Stack())}
		}
	}()
	return handler()
}

// handle gives a page's events to the handler: together, or one by one. It goes back to reading after a failure.
func (s *subscriber) handle(ctx context.Context, p page) error {
	from, rest := p.after.Cursor, p.Events
	for len(rest) > 0 && ctx.Err() == nil {
		n := s.unit(rest)
		events := rest[:n]
		rest = rest[n:]
		to := markOf(events[n-1])
		if len(rest) == 0 {
			to = p.next() // what the filter left out after the last event is handled with it
		}
		err := s.attempt(ctx, s, events, func(ctx context.Context, db DB) error { return s.place.move(ctx, db, from, to) })
		if err != nil {
			return s.failed(ctx, from, events, err)
		}
		s.failures = 0
		s.handled += n
		from = to.Cursor
	}
	return ctx.Err()
}

// unit returns how many of the events to handle together.
func (s *subscriber) unit(events []Event) int {
	if s.single || events[0].Cursor.Position <= s.suspicious {
		return 1
	}
	return len(events)
}

// move moves the cursor over events that the filter leaves out.
func (s *subscriber) move(ctx context.Context, from Cursor, to mark) error {
	err := s.try(ctx, func(ctx context.Context) error { return s.place.move(ctx, s.cfg.Pool, from, to) })
	if errors.Is(err, errMoved) {
		return s.moved(ctx, from)
	}
	return err
}
