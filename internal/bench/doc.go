// Package bench measures the worker on a server, against what the server itself can do.
//
//	scratch database ──▶ drain, pipeline       against one call per transaction by pgbench, 32 clients
//	created, migrated,   growth                against itself: a small history and a long one
//	dropped at the end   latency               against a bare River, tuned
//	                     during a scale-out    against itself alone
//	                     fan-out, idle         by themselves
//	                     producers, bulk       against the outbox's table without its trigger; also while a worker
//	                                           runs, with and without --rate
//
// Only ratios say much: a measure and its reference alternate in one run on the same database, and each begins as often as the
// other. Between two measurements tables are vacuumed and a checkpoint is made, outside of the measured time. A measurement fails
// unless each event led to its one instance.
//
// Everything happens in databases of its own, named iuworker_bench_<random>, which are dropped at the end, also after
// Ctrl-C, with the roles that the migration created. A program that was killed leaves its database behind: the next run names it.
//
// The worker runs in the measuring process: its CPU and memory include the measuring, and so are upper bounds.
package bench
