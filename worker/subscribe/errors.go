package subscribe

import (
	"context"
	"errors"
	"fmt"
)

// The errors that this package wraps; compare with errors.Is.
var (
	// ErrBadCursor: a text is no cursor.
	ErrBadCursor = errors.New("not a cursor")
	// ErrBeyondEnd: a cursor lies after the last event that there is. See BeyondEndError.
	ErrBeyondEnd = errors.New("beyond the end of the history")
	// ErrRewound: a cursor is not part of today's history. See RewoundError.
	ErrRewound = errors.New("history rewound")
	// ErrPruned: what follows a cursor is not kept any more. See PrunedError.
	ErrPruned = errors.New("events were pruned")
	// ErrExhausted: the handler failed as often as Retry.MaxTries allows. See ExhaustedError.
	ErrExhausted = errors.New("tries exhausted")
	// ErrNoConsumer: there is no consumer of that name, or it was deleted while it ran.
	ErrNoConsumer = errors.New("unknown consumer")
	// ErrRowSecurity: row security is on for the consumers and may hide one.
	ErrRowSecurity = errors.New("row security is on for iu_outbox.consumer: run iuworker migrate up as its owner, which switches it off")
	// ErrConsumerActive: a process works for the consumer.
	ErrConsumerActive = errors.New("consumer is active")
	// ErrDeadLetters: the consumer has dead letters.
	ErrDeadLetters = errors.New("consumer has dead letters")
)

// BeyondEndError is a cursor that lies after the last event there is: a typing error, or positions of another
// database. It wraps ErrBeyondEnd.
type BeyondEndError struct {
	Cursor Cursor
	End    Cursor // the end of the history
}

func (e *BeyondEndError) Error() string {
	return fmt.Sprintf("cursor %s is beyond the end of the history, which ends at %s; "+
		"use a cursor from this database, or start now", e.Cursor, e.End)
}

func (e *BeyondEndError) Unwrap() error { return ErrBeyondEnd }

// RewoundError is a cursor that is not part of today's history: the database was restored from a backup, failed over
// with commits lost, or is another one. What the reader received after CommonUntil did not happen in this history, and
// other events may have its positions now. It wraps ErrRewound.
type RewoundError struct {
	Cursor Cursor
	// CommonUntil is the last place that the cursor's history and today's have in common: go on after it to miss
	// nothing. Its Epoch is empty if the cursor's epoch is unknown here: then nothing is known to be in common.
	CommonUntil Cursor
	// End is the end of today's history.
	End Cursor
	// Found is the id of the event that is at Cursor now, if that is another one than the reader got there: then the
	// database was set back without noticing it (a copy of its files), and the point where the histories diverge is unknown.
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

// PrunedError is a cursor after which events are missing, since retention removed them. It wraps ErrPruned.
type PrunedError struct {
	Cursor    Cursor
	KeptAfter Cursor // everything after it is kept
	End       Cursor // the end of the history
}

func (e *PrunedError) Error() string {
	return fmt.Sprintf("events after cursor %s were pruned: everything after %s is retained, up to the end at %s; continue after %[2]s, and accept the gap",
		e.Cursor, e.KeptAfter, e.End)
}

func (e *PrunedError) Unwrap() error { return ErrPruned }

// ExhaustedError tells which event the handler failed for, as often as Retry.MaxTries allows. It wraps ErrExhausted
// and the handler's last error.
type ExhaustedError struct {
	Cursor Cursor // of the event
	Tries  int
	Err    error
}

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("the handler failed %d times for event %s: %v", e.Tries, e.Cursor, e.Err)
}

func (e *ExhaustedError) Unwrap() []error { return []error{ErrExhausted, e.Err} }

// PanicError is a handler's panic, treated as an error that it returned.
type PanicError struct {
	Value any
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("the handler panicked: %v", e.Value) }

// Stop makes a handler's error end Run at once: Run returns err, and the cursor stays before the event. It returns nil for
// a nil err.
func Stop(err error) error {
	if err == nil {
		return nil
	}
	return &stopError{err}
}

type stopError struct{ error }

func (e *stopError) Unwrap() error { return e.error }

// handlerError marks what the handler is to blame for.
type handlerError struct{ error }

func (e *handlerError) Unwrap() error { return e.error }

// absent returns the error of a consumer that was not found: gone, or ErrRowSecurity if it may be there and hidden.
func absent(ctx context.Context, db DB, gone error) error {
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
	return gone
}
