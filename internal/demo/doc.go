// Package demo is an application in small: it shows the whole way from an outbox row to an event.
//
//	Inspect   may this database be played with: empty, our own, or somebody's?
//	Prepare   opens the gates and makes a template
//	Insert    says that twelve orders were placed, as an application does: plain SQL, one transaction
//	Listener  hears of the instances, as a subscriber does: a plain LISTEN
//	Compare   what was composed, beside what was inserted and heard
//
// It uses nothing that an application could not use.
package demo
