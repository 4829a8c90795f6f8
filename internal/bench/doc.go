// Package bench measures what the worker reaches on a server, beside what the server itself can do.
//
//	scratch database ──▶ drain, whole way      against one call a transaction by pgbench, 32 clients
//	created, migrated,   growth                against itself: a small history and a long one
//	dropped at the end   latency               against a bare River, tuned
//	                     beside a scale-out    against itself alone
//	                     fan-out, idle         by themselves
//	                     producers, bulk       against the outbox's table without its trigger
//
// Ratios count: a measure and its reference take turns in one run, each beginning as often as the other, on the same
// database. Between two measurements, outside of the time that counts, tables are vacuumed and a checkpoint is made.
// Every measurement is checked: it fails unless each event led to its one instance.
//
// Everything happens in databases of its own, named iuworker_bench_<random>, which are dropped at the end, also after
// Ctrl-C; roles that the migration created go with them. A program that was killed leaves its database behind: the next
// run names it.
//
// The worker runs in the measuring process: its CPU and memory have the measuring in them, and so are upper bounds.
package bench
