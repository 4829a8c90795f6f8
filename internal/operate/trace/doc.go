// Package trace follows one event from the outbox to its consumers.
//
// Find takes a reference: an event id, an idempotency key, an instance's id or key, the number of a job, or a
// prefix of one of these. It returns an Event for each idempotency key: its rows in each table, its state, and what it waits for.
// The database function find_event decides the state; this package explains it.
//
//	nothing is known of the reference           ErrNotFound
//	a prefix fits several events                AmbiguousError
//	a job's arguments or marks are not ours     they are left out
//	River has deleted the job                   Jobs is empty; the instance or the dead letter remains
//	the instance was rolled back                its emission is found by the instance's id alone
package trace
