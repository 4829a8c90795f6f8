// Package operate implements what operators do, for the command line and the pages.
//
//	Operator               changes in the name of a person, each in one transaction with its audit line
//	Gates                  the two switches that hold composing back
//	PreviewRollback        what a rollback of an actor deletes, and who has received it already
//	DeadLetters            events that ended without an instance
//	Events, ChooseEvents   events and their states, by filter
//	Queues, Settings       what is paused, and what is set
//	Audit                  who changed what
//
// The packages below this one import it, never the other way round:
//
//	trace                  the whole path of one event, and what it waits for
//	scaleout               one template composed many times, in a queue of its own
//	status, fleet          the state of everything, cheap on millions of rows; the workers
//	history                what happened in the last hour, or up to seven days, and the current rates
//	templates              templates by id, key or page
//	doctor                 what is wrong now, and what to do
//	verify                 whether anything is lost, doubled or orphaned, over all data
//	conformance            whether iu-core is complete and works
//
// Functions take a connection, a transaction or a pool. Errors wrap the server's error. Results have JSON tags.
package operate
