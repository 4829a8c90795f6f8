// Package worker moves events through PostgreSQL: outbox row -> River job -> instance -> emission.
//
//	relay      moves outbox rows to River jobs, in one transaction; composes at once what it can, and inserts those jobs completed
//	jobs       (package compose) compose other instances, many in one transaction, with retries, parking and dead letters
//	emitter    gives emissions their positions, in commit-safe order, and announces them by NOTIFY
//	resumer    makes parked jobs run again when their gate opens
//	rescuer    renews this process's lease, and makes the jobs of a process that died run again
//	pruner     deletes emissions that are old enough and that all active consumers have handled; only time in which a worker
//	           runs counts
//	verifier   verifies all data at an interval
//	historian  writes a row per minute for the charts
//	reporter   stores this process's settings and load for the pages of other processes
//
// A doorbell wakes the parts. They also read their backlog after each (re)connect, and poll: the tables are the truth, and a
// NOTIFY only saves waiting. They stop in the order in which events pass through them.
//
//	failure                                 what happens then
//	worker killed (-9)                      its lease expires after 8 s and its jobs run elsewhere within 10 s; rows that it was
//	                                        moving stay in the outbox; another process's emitter takes over
//	connection or server lost               every part reconnects with backoff; the listener notices a silent
//	                                        server within seconds by its own ping
//	worker's machine dies silently          the same; a transaction that it left open holds its jobs until the server ends it
//	worker stopped (SIGSTOP), then goes on  it keeps its jobs for as long as its lease lasts; after that it is fenced: it
//	                                        composes nothing before it has taken a new lease
//	the same id comes back                  it takes the lease and the jobs once the lease has expired; it is refused while the
//	                                        other process renews it
//	server stops, or its clock jumps        no process sweeps expired leases before it has renewed its own for 5 s without a gap
//	machines' clocks differ                 times of jobs are the server's (clock); what lies far ahead is not believed
//	a stranger notifies, or takes locks     a bell rings, at a limited rate; River is told what the tables say
//	                                        (riverControl); a lock counts only if its holder may work
//	notification lost                       the poll finds the row
//	fault of the installation               jobs are held back, the fault is logged once by its name, the worker is not
//	                                        ready, and one job is tried now and then until it succeeds
//	row that cannot be moved                skipped, tried alone, and finally made a dead letter (aside)
//	job rows locked by another transaction  neither relay nor completer waits for them (workExecutor)
//	emission that cannot be announced       announced by its cursor, others as they are
//	producers at full speed                 the worker slows them down, unless Config.Rate limits it
//	notification queue filling up           emissions get positions without a NOTIFY; subscribers poll
//	two emitters at once                    the counter row lets one through at a time
//	behind a transaction pooler             no session to lock or listen with: every part polls
package worker
