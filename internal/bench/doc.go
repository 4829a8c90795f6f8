// Package bench measures the worker on a server, against what the server itself can do.
//
//	scratch database ──▶ drain, pipeline       against one call per transaction by pgbench, 32 clients, and against
//	created, migrated,                         500 calls per statement, 4 clients; in sets and by function
//	dropped at the end   growth                against itself: the end and the beginning of a long history
//	                     latency               against a bare River, tuned, whose job composes and notifies
//	                     during a scale-out    against itself alone
//	                     fan-out, idle         by themselves
//	                     producers, bulk       against the outbox's table without its trigger; also while a worker
//	                                           runs, with and without --rate
//
// Ratios matter more than rates: a measure and its reference alternate in one run on the same database, and each begins as
// often as the other. Between two measurements, outside the measured time, bench vacuums the tables and makes a checkpoint. A
// measurement fails unless each event led to its one instance. What the measures must reach is in the table of groups, run.go.
//
// Run works in databases that it creates, named iuworker_bench_<random>, and drops at the end, also after SIGINT or SIGTERM, with the roles
// that the migration created. A run that is killed leaves its database behind, and the next run reports it.
//
// The worker runs in the measuring process: its CPU and memory include the measuring, and so are upper bounds.
package bench
