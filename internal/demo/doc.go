// Package demo is a small application that shows the whole way from an outbox row to an event.
//
//	Inspect   reports whether the database is empty, a demo's own, or somebody else's
//	Prepare   opens the gates and creates a template
//	Insert    inserts twelve orders as an application does: plain SQL, one transaction
//	Listener  receives the events as a subscriber does: a plain LISTEN
//	Compare   adds to each order what was composed
//
// It uses nothing that an application could not use.
package demo
