package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// Sink is a log that keeps events in order. Run calls one method at a time.
type Sink interface {
	// Peek returns where the log ends, and connects if that is needed. It claims nothing: another process may be publishing.
	Peek(ctx context.Context) (End, error)

	// Last is Peek for the consumer's active process: Publish continues at this end, and the process that published before is shut out. An
	// AwayError is retried; any other error ends Run.
	Last(ctx context.Context) (End, error)

	// Publish appends events after the last one, and returns nil once the log has acknowledged all of them. After an error, Last is
	// called before Publish again. Errors are AwayError, RefusedError, or end Run.
	Publish(ctx context.Context, events []subscribe.Event) error

	// Preview returns the message that Publish would send for an event, without what ties it to its predecessor.
	Preview(event subscribe.Event) (Preview, error)

	// Reconnected reports whether there is another connection than at the last call of Last: the log may have lost its end. Safe for
	// concurrent use.
	Reconnected() bool

	// Connected returns why the broker cannot be reached; nil if it can. Safe for concurrent use.
	Connected() error
}

// End is where a log ends.
type End struct {
	State  State
	Cursor subscribe.Cursor // of the last event, if State is StateHolds
	ID     string           // of that event
	Source string           // of that event
	// Created is when the log was made; zero if it does not say.
	Created time.Time
}

// State says what a log holds.
type State int

const (
	// StateNew says that the log never held an event.
	StateNew State = iota
	// StateAgedOut says that the log held events, and holds none now.
	StateAgedOut
	// StateHolds says that the log holds events.
	StateHolds
)

// AwayError says that the broker cannot take events now. It is retried without end.
type AwayError struct {
	Err error
	// Replied: the broker said so. Otherwise it may have taken what was sent.
	Replied bool
}

func (e *AwayError) Error() string { return e.Err.Error() }
func (e *AwayError) Unwrap() error { return e.Err }

// Away wraps an error as an AwayError; nil stays nil.
func Away(err error) error {
	if err == nil {
		return nil
	}
	return &AwayError{Err: err}
}

// RefusedError says that the broker does not take an event from any sender at any time, such as one that is too large.
type RefusedError struct {
	Cursor subscribe.Cursor
	Err    error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("event %s was refused: %v", e.Cursor, e.Err)
}
func (e *RefusedError) Unwrap() error { return e.Err }

// The errors that end Run.
var (
	// ErrNotOurs means that the log holds messages of somebody else.
	ErrNotOurs = errors.New("not a log of this database alone")
	// ErrRecreated means that the log is empty as if it were new, although the consumer published events.
	ErrRecreated = errors.New("the log was recreated")
	// ErrFenced means that another process publishes to the log with this consumer's name.
	ErrFenced = errors.New("fenced")
)

func isAway(err error) bool {
	_, away := errors.AsType[*AwayError](err)
	return away
}
