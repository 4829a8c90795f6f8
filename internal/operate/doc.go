// Package operate is what operators do, as functions that the command line and the pages call.
//
//	Operator               changes in a person's name: each is one transaction with its audit line
//	Gates                  the two switches that hold composing back
//	PreviewRollback        what rolling an actor back takes away, and who knows of it already
//	DeadLetters            what could not be composed
//	Events, ChooseEvents   every event and its state, by filter
//	Queues, Settings       what is paused, and what is set
//	Audit                  who changed what
//
// Packages below it, none of which this package imports:
//
//	trace                  one event's whole way, and what it waits for
//	scaleout               bulk work, in a queue of its own
//	status, fleet          the state of everything, cheap on millions of rows; the workers
//	history                what happened in the last hour, up to seven days, and how fast it goes now
//	templates              templates by id, key or page
//	doctor                 what is wrong now, and what to do
//	verify                 whether anything is lost, doubled or orphaned, over all data
//	conformance            whether iu-core is whole and works
//
// Functions take a connection, a transaction or a pool. Errors are wrapped and keep the server's; results have JSON tags.
package operate
