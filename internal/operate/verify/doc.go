// Package verify checks all data: whether an event was lost, an instance has no log row, or a position is missing.
//
// Run goes through the steps in verify.go, in the order in which events pass the tables. A step has scans, each of which reads
// a table in pieces. A piece is one short read-only statement, with a snapshot of its own, that returns rows (id, tally, n,
// problem).
//
//	what happens                      what Run does
//	a piece has a problem             reads it again after 200 ms; only what is wrong both times counts
//	a piece takes longer than 100 ms  makes the next one smaller
//	a statement is cancelled or the   tries again with the smallest piece, up to eight times
//	connection breaks
//	another error                     returns it with the checks that ended
//
// Run changes nothing and is safe for concurrent use.
package verify
