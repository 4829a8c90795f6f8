// Package outbox is for applications: it says, in their own transaction, that something happened.
//
//	Insert      one event, in a pgx transaction
//	InsertMany  many events in one statement
//	InsertSQL   one event, in a database/sql transaction
//
// The event is there when the transaction commits, and never was when it rolls back. Nothing of the worker has to
// run, and the transaction waits for nobody. Give an event your own EventID: the same event said twice composes one
// instance.
//
//	failure                               what the caller gets
//	a value that no event may have        *InvalidError, which names the field; the transaction is aborted
//	a template that does not exist        no error: the job reports it, not the application's commit
//	the same event again                  no error, a row of its own; it ends as a replay of the first
//	anything else                         the driver's error
//
// The package needs a login that is a member of the role iu_app, and no other package of this module.
package outbox
