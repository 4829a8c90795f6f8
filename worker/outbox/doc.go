// Package outbox inserts events into the outbox in an application's own transaction.
//
//	Insert      one event, in a pgx transaction
//	InsertMany  many events in one statement
//	InsertSQL   one event, in a database/sql transaction
//
// The event exists once the transaction commits, and not at all if it rolls back. No worker has to run, and the transaction
// waits for none. Give an event your own EventID: an event that is inserted twice composes one instance.
//
//	failure                               what the caller gets
//	a value that no event may have        *InvalidError, which names the field
//	a template that does not exist        no error: the job reports it later
//	the same event again                  no error, but a row of its own, which ends as a replay of the first
//	anything else                         the driver's error
//
// The package needs a login that is a member of the role iu_app, and no other package of this module.
package outbox
