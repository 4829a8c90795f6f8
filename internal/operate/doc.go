// Package operate is what operators do, as functions that the command line and the pages call.
//
//	Gates, SetGate                 the two switches that hold composing back
//	Rollback, RollbackReach        takes an actor's instances away; who knows of them already
//	DeadLetters, Retry, Drop       what could not be composed
//	Scaleout                       bulk work, in a queue of its own
//	FindTemplate                   a template by id or key
//	ReadStatus                     the state of everything, cheap on millions of rows
//	History, ConsumerHistory,
//	TemplateHistory, ReadPaces     what happened in the last hour, up to seven days, and how fast it goes now
//	ReadSituation, RecentFailures  what the page Now shows besides the status
//	FindTraces                     one event's whole way, and what it waits for
//	RecordAudit, Audit             who changed what
//	Conformance, Selftest          is iu-core whole, and does it work
//
// Packages below it: doctor (what is wrong now, and what to do) and verify (is anything lost, doubled or orphaned, over all
// data).
//
// Functions do what SQL functions of the schema do, take a connection, a transaction or a pool, and are safe for
// concurrent use where that is. Errors are wrapped and keep the server's; results have JSON tags.
package operate
