// Package subscribe delivers the events iu.template.instance_auto_composed to Go programs: from any cursor on, in the
// order of their positions, each at least once.
//
//	Run, RunBatch    the cursor moves after the handler has returned nil: at least once
//	RunTx            the cursor moves in the handler's transaction: an effect in it happens once
//	Config.Consumer  a durable name: the cursor is a row, and one process of that name is active at a time
//	Tail             reads new events once for thousands of followers in one process (Server-Sent Events)
//	Read, Resolve    read the same history without a loop
//
//	iu_outbox.emission ──read after the cursor──▶ handler ──nil──▶ cursor moves (only from where it was read)
//	        ▲                                        │
//	notification or poll                           error ──▶ backoff, read again
//
// A cursor is an epoch and a position. An epoch is one unbroken history. A new one begins when the emitter finds itself
// on another server, timeline or database than before (a restore, a failover, a copy); positions continue. A cursor of
// an older epoch is valid up to the position at which the next epoch began; the rest of its history was lost. A server
// cannot notice that its files were set back: an operator tells it by SELECT iu_outbox.begin_epoch(). Without that, the
// same epoch gives the same positions to other events. This package notices even then, because it remembers the id of
// the last event that it read. AfterEvent is for programs that store the id.
//
//	failure                                  what happens then
//	process killed                           its lease ends after Config.LeaseTTL, and another process continues after
//	                                         the cursor; events handled but not stored are handled again (RunTx: not)
//	process stopped (SIGSTOP) and continued  it has lost the lease: its handler's ctx ends, its cursor move fails, its
//	                                         transaction is rolled back
//	two processes for a moment               both may call their handler; only one moves the cursor
//	connection or server lost                retried with backoff, logged once; then read again
//	commit in doubt                          the cursor's row tells whether it happened
//	notification lost, or a pooler           the poll finds the event; leases and cursors need no session
//	handler fails or panics                  retried in order with backoff, visible at the consumer; skipped only if
//	                                         Retry.MaxTries and DeadLetter say so
//	handler fails for one event of a batch   the batch's events are retried one by one
//	handler's store is elsewhere, and has an  Config.Resume asks it where to continue, at the start and after each failure; the
//	end that can be read                     row follows (package publish)
//	instance rolled back by an operator      its event stays, with RolledBackAt
//	cursor reset by an operator              the process continues there after the events that it is handling
//	row security hides rows                  Run returns the server's error, or ErrRowSecurity; no event counts as
//	                                         pruned, no consumer as deleted
//	consumer deleted                         Run returns ErrNoConsumer
//	history rewound                          Run returns a RewoundError with the point where the histories diverge, also
//	                                         if the consumer's row was set back with the database. RunTx continues from
//	                                         the row, because its effects were set back as well
//	process starts after a rewind            it remembers nothing; it warns if a new epoch began since the row last moved
//	events pruned before they were read      Run returns a PrunedError, which tells what is kept
//	follower of a Tail falls behind          it reads what the Tail no longer keeps from the database, a page at a time
package subscribe
