// Package subscribe delivers the events iu.template.instance_auto_composed to Go programs: after any cursor, in the order of
// their positions, each at least once.
//
//	Run, RunBatch    call a handler, and move the cursor after it has returned nil: at least once
//	RunTx            moves the cursor in the handler's transaction: an effect in it happens once
//	Config.Consumer  a durable name: the cursor is in a row, and one process of that name is active at a time
//	Tail             reads new events once for thousands of followers in one process (Server-Sent Events)
//	Read, Resolve    read the history for callers that keep their own cursors
//
//	iu_outbox.emission ──read after the cursor──▶ handler ──nil──▶ cursor moves (unless it moved meanwhile)
//	        ▲                                        │
//	notification or poll                           error ──▶ backoff, read again
//
// A cursor is an epoch and a position. An epoch is an unbroken history. A new one begins when the emitter detects that it runs
// on another server, timeline or database than before (a restore, a failover, a copy); positions continue. A cursor of an
// older epoch is valid up to the position at which the next epoch began; later events of its history were lost. A server
// cannot detect that its files were replaced by an older copy, unless an operator runs SELECT iu_outbox.begin_epoch(). Without
// that, the same epoch gives the same positions to other events. This package detects it all the same, because it remembers
// the id of the last event that it read. AfterEvent is for programs that store that id.
//
// A reader may read a hot standby (Config.Read), and the primary in turn, so that its cursor may be ahead of the server that it
// asks. A server that is behind shows a part of the history in which the cursor was read. So a server that is in recovery, or
// that a reader of standbys asks, says "rewound" only if no continuation of what it shows can contain the cursor:
//
//	it shows                                      then
//	the cursor's epoch, its end before the        not here yet: the epoch may go on
//	cursor, and no later epoch
//	a later epoch that began before the cursor    rewound: the cursor's epoch has ended there
//	not the cursor's epoch, and no event after    not here yet: an epoch may begin after events that are not replayed
//	the cursor's position
//	not the cursor's epoch, but events after its  rewound: an epoch is stored before the events after its cursors, so it would be here
//	position
//	the cursor's position, with another event     rewound
//
// No alarm is false, because none of the three cases of "rewound" is possible in a part of the cursor's own history. No rewind is missed:
// if the histories differ, one of these cases is there at the latest with the first event after the cursor's position, so that the
// reader receives no event of the other history. TestBehindIsNotRewound compares this rule with a model.
//
// "Not here yet" is an empty page. A reader that can also ask the primary is told what the primary shows, by the same rule. If a standby
// says "rewound" and the primary has the cursor, the primary is right, and the standby is not read for a while. For readers of standbys
// the primary follows this rule, too, because a standby may show a commit for which its primary still waits. A reader of the primary
// alone is told of a rewind at once, even if the epoch goes on, because nothing can be behind.
//
//	failure                                  what happens then
//	process killed                           its lease expires after Config.LeaseTTL, and another process continues after
//	                                         the cursor; events that were handled after it are handled again (not by RunTx)
//	process stopped (SIGSTOP) and continued  it has lost the lease: its handler's ctx ends, its cursor does not move, its
//	                                         transaction is rolled back
//	two processes active for a moment        both may call their handler; only one moves the cursor
//	connection or server lost                retried with backoff and logged once; then events are read again
//	outcome of a commit unknown              the cursor in the row shows it
//	notification lost, or a pooler           polling finds the event; leases and cursors need no session
//	standby behind                           its events come later; a cursor that it has not replayed waits
//	standby away, or beyond Config.MaxLag    events are read from the primary until it is back
//	standby refuses the login                the same; if the primary does so as well, Run returns its error
//	standby with another history             the same; the log says so
//	primary away, reader of a standby        without a consumer it polls the standby; a consumer waits, its cursor is on the primary
//	handler fails or panics                  retried in order with backoff, and shown in the consumer's row; the event is
//	                                         skipped only with Retry.MaxTries and DeadLetter
//	handler fails for one event of a batch   the batch's events are retried one by one
//	handler's store is elsewhere, and has an  Config.Resume asks it where to continue, at the start and after each failure; the
//	end that can be read                     row follows (package publish)
//	instance rolled back by an operator      its event stays, with RolledBackAt
//	cursor reset by an operator              the process finishes the events that it is handling and continues there
//	row security hides rows                  Run returns the server's error or ErrRowSecurity; hidden rows do not count as
//	                                         pruned events or deleted consumers
//	consumer deleted                         Run returns ErrNoConsumer
//	history rewound                          Run returns a RewoundError with the point where the histories diverge, even
//	                                         if the consumer's row was set back with the database. RunTx continues from
//	                                         the row, because its effects were set back as well
//	process starts after a rewind            it remembers nothing; it warns if a new epoch began since the cursor last moved
//	events pruned before they were read      Run returns a PrunedError, which says which events are kept
//	follower of a Tail falls behind          it reads older events from the database, a page at a time
package subscribe
