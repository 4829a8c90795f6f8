// Package subscribe gives the events iu.template.instance_auto_composed to Go programs: from any place in their
// history on, in the order of their positions, each one at least once.
//
//	Run, RunBatch    the cursor moves after the handler answered nil: at least once
//	RunTx            the cursor moves in the handler's transaction: an effect in it happens once
//	Config.Consumer  a durable name: the cursor is a row, and one of all processes with the name is active
//	Tail             new events read once, for thousands of followers in one process (Server-Sent Events)
//	Read, Resolve    the same history without a loop, for those who build one of their own
//
//	iu_outbox.emission ──read after the cursor──▶ handler ──nil──▶ cursor moves (only from where it was read)
//	        ▲                                        │
//	notification or poll                           error ──▶ backoff, read again
//
// A cursor is an epoch and a position. An epoch is one unbroken history: it changes when the emitter finds itself on
// another server, timeline or database than before (a restore, a failover, a copy), and positions go on from there. A
// cursor of an older epoch is good up to the position at which the next one began; after that, its history was lost.
// What a server cannot see by itself (its files were set back) is told by SELECT iu_outbox.begin_epoch(). Without that
// positions are given to other events in the same epoch. A subscriber that knows the id of the last event that it has
// read notices it all the same; all of this package does. AfterEvent is for programs that store the id.
//
//	failure                                  what happens then
//	process killed                           its lease ends after Config.LeaseTTL; another process goes on after the
//	                                         cursor; what was handled and not yet stored is handled again (RunTx: not)
//	process stopped (SIGSTOP), then goes on  it lost the lease: its handler's ctx ends, its cursor move fails, its
//	                                         transaction is rolled back
//	two processes for a moment               both may call their handler; one of them moves the cursor
//	connection or server lost                waited for, with backoff, and logged once; then read again
//	commit in doubt                          the cursor's row tells whether it happened
//	notification lost, or a pooler           the poll finds the event; leases and cursors need no session
//	handler fails or panics                  tried again in order, with backoff; visible at the consumer; never
//	                                         skipped, unless Retry.MaxTries and DeadLetter say so
//	handler fails for one event of a batch   the batch's events are tried one by one
//	instance rolled back by an operator      its event stays, with RolledBackAt
//	cursor reset by an operator              the process goes on from there after what it is handling
//	row security hides rows                  Run ends with the server's error, or ErrRowSecurity; nothing counts as
//	                                         pruned or deleted
//	consumer deleted                         Run ends: ErrNoConsumer
//	history rewound                          Run ends: RewoundError has the point where the histories part. The same
//	                                         holds for a consumer, whose row went back with the database: the process remembers the event
//	                                         that it has come to. RunTx goes on from the row, as its effects went back as well
//	process starts after a rewind            it remembers nothing: it warns if a new epoch began since the row last moved
//	events pruned before they were read      Run ends: PrunedError tells what is kept
//	follower of a Tail falls behind          it reads from the database what the Tail keeps no more, a page at a time
package subscribe
