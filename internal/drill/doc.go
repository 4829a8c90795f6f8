// Package drill breaks a scratch installation on purpose, under load, and proves what became of each event.
//
//	load ──▶ iu_outbox.event ──▶ workers ──▶ emissions ──▶ consumers, stream clients
//	  │              each behind a link, which can stop or cut its network        │
//	  └──▶ record: every acknowledged insert            every line received ◀─────┘
//	               └──────────── audit, with the tables in one snapshot ──┘
//
//	config.go         what a run is
//	installation.go   the scratch database, the processes, their networks
//	load.go           what the application inserts; record.go remembers it
//	subscriber.go     what consumers and stream clients received
//	stream.go         the client of Server-Sent Events, which runs in processes of its own
//	scenario.go       the table of scenarios, which are in the files break_*.go
//	run.go            rounds of scenarios; after each, the wait until it has recovered
//	audit.go          the comparison; sequence.go is that of one subscriber
//	crash.go          processes that ended by a fault of their own
//	report.go         the verdict, and the evidence
//
//	failure                            what happens
//	the installation does not recover  a finding; the run goes on
//	the audit finds something          the directory with logs, receipts and findings stays, and the report names it
//	the run is interrupted             everything is ended and removed; ErrInterrupted
//	the drill itself cannot go on      an error that names the directory with the logs
//	the program is killed              Linux: the kernel ends its processes and its servers; its directory stays, and so does a scratch
//	                                   database on a given server, which the next run drops
package drill
