// Package outbox inserts events into the outbox in an application's own transaction.
//
//	Insert      one event, in a pgx transaction
//	InsertMany  many events in one statement
//	InsertSQL   one event, in a database/sql transaction
//
// The event exists if the transaction commits. The transaction does not wait for a worker, and none needs to be running. Set
// EventID to an id of your own: an event that is inserted twice then composes one instance.
//
//	failure                               what the caller gets
//	an invalid value                      *InvalidError, which names the field
//	a template that does not exist        no error: the event becomes a dead letter
//	the same event again                  no error: the new row merges into the first one's job, or ends as a replay of it
//	anything else                         the driver's error
//
// The login must be a member of the role iu_app.
package outbox
