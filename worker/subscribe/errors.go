package subscribe

import (
	"context"
	"errors"
	"fmt"
)

// The errors that this package wraps. Test for them with errors.Is.
var (
	// ErrBadCursor means that a text is not a cursor.
	ErrBadCursor = errors.New("not a cursor")
	// ErrBeyondEnd means that a cursor is after the last event. See BeyondEndError.
	ErrBeyondEnd = errors.New("beyond the end of the history")
	// ErrRewound means that a cursor is not part of the current history. See RewoundError.
	ErrRewound = errors.New("history rewound")
	// ErrPruned means that events after a cursor are no longer kept. See PrunedError.
	ErrPruned = errors.New("events were pruned")
	// ErrExhausted means that the handler failed Retry.MaxTries times. See ExhaustedError.
	ErrExhausted = errors.New("tries exhausted")
	// ErrNoConsumer means that there is no consumer of that name, or that it was deleted while it ran.
	ErrNoConsumer = errors.New("unknown consumer")
	// ErrRowSecurity means that row security is on for the table of consumers and may hide one.
	ErrRowSecurity = errors.New("row security is on for iu_outbox.consumer: run iuworker migrate up as its owner, which switches it off")
	// ErrConsumerActive means that the consumer has an active process.
	ErrConsumerActive = errors.New("consumer is active")
	// ErrDeadLetters means that the consumer has dead letters.
	ErrDeadLetters = errors.New("consumer has dead letters")
)

// BeyondEndError reports a cursor after the last event: it was mistyped, or comes from another database. It wraps
// ErrBeyondEnd.
type BeyondEndError struct {
	Cursor Cursor
	End    Cursor // the end of the history
}

func (e *BeyondEndError) Error() string {
	return fmt.Sprintf("cursor %s is beyond the end of the history, which ends at %s; "+
		"use a cursor from this database, or start now", e.Cursor, e.End)
}

func (e *BeyondEndError) Unwrap() error { return ErrBeyondEnd }

// RewoundError reports a cursor that is not part of the current history: the database was restored from a backup, a failover
// lost commits, or it is another database. The events that the reader received after CommonUntil are not part of this
// history, and other events may have their positions now. It wraps ErrRewound.
type RewoundError struct {
	Cursor Cursor
	// CommonUntil is the last place that the cursor's history and the current one have in common. A reader that continues
	// after it misses nothing. Its Epoch is empty if this database does not know the cursor's epoch; then nothing is known
	// to be in common.
	CommonUntil Cursor
	// End is the end of the current history.
	End Cursor
	// Found is the id of the event that is now at Cursor, if the reader received another one there. Then the database's files
	// were replaced by an older copy, which a server cannot notice, and the point where the histories diverge is unknown.
	Found string
}

func (e *RewoundError) Error() string {
	if e.Found != "" {
		return fmt.Sprintf("history rewound: a different event is at cursor %s now (the database was set back to an "+
			"older state and then diverged), and the history ends at %s; start at a cursor before which you missed nothing, "+
			"and undo what you did for events that no longer exist", e.Cursor, e.End)
	}
	if e.CommonUntil.Epoch == "" {
		return fmt.Sprintf("history rewound: the epoch of cursor %s is unknown (the database was restored from elsewhere, "+
			"or is another one), and the history ends at %s; start from the beginning, or at a cursor before which you missed nothing",
			e.Cursor, e.End)
	}
	return fmt.Sprintf("history rewound: cursor %s was lost in a restore or failover; its history is valid until %s, "+
		"and the current one ends at %s; continue after %s, and undo what you did for events beyond it",
		e.Cursor, e.CommonUntil, e.End, e.CommonUntil)
}

func (e *RewoundError) Unwrap() error { return ErrRewound }

// PrunedError reports a cursor after which retention has deleted events. It wraps ErrPruned.
type PrunedError struct {
	Cursor    Cursor
	KeptAfter Cursor // all events after it are kept
	End       Cursor // the end of the history
}

func (e *PrunedError) Error() string {
	return fmt.Sprintf("events after cursor %s were pruned: everything after %s is retained, up to the end at %s; continue after %[2]s, and accept the gap",
		e.Cursor, e.KeptAfter, e.End)
}

func (e *PrunedError) Unwrap() error { return ErrPruned }

// ExhaustedError reports an event for which the handler failed Retry.MaxTries times. It wraps ErrExhausted and the handler's
// last error.
type ExhaustedError struct {
	Cursor Cursor // of the event
	Tries  int
	Err    error
}

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("the handler failed %d times for event %s: %v", e.Tries, e.Cursor, e.Err)
}

func (e *ExhaustedError) Unwrap() []error { return []error{ErrExhausted, e.Err} }

// PanicError is a handler's panic, which is treated like an error that the handler returned.
type PanicError struct {
	Value any
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("the handler panicked: %v", e.Value) }

// Stop wraps an error that a handler returns to end Run: Run returns err, and the cursor stays before the event. Stop returns
// nil if err is nil.
func Stop(err error) error {
	if err == nil {
		return nil
	}
	return &stopError{err}
}

type stopError struct{ error }

func (e *stopError) Unwrap() error { return e.error }

// handlerError marks an error of the handler.
type handlerError struct{ error }

func (e *handlerError) Unwrap() error { return e.error }

// absent returns the error for a consumer that was not found: missing, or ErrRowSecurity if row security may hide it.
func absent(ctx context.Context, db DB, missing error) error {
	var secured bool
	err := db.QueryRow(ctx, `
		SELECT COALESCE(pg_catalog.bool_or(c.relrowsecurity), false)
		FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = 'iu_outbox' AND c.relname = 'consumer'`).Scan(&secured)
	switch {
	case err != nil:
		return fmt.Errorf("look for row security: %w", err)
	case secured:
		return ErrRowSecurity
	}
	return missing
}
