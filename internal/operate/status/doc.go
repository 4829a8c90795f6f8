// Package status reads the state of everything at one moment, for the command status and the pages.
//
//	Read                           gates, outbox, jobs, dead letters, emissions, consumers and workers, in one snapshot
//	ReadComposing                  whether instances are composed in sets or by a call for each event, and why
//	ReadSituation, RecentFailures  what the first page shows besides
//	ReadKept                       what is retained, and which consumer holds it
//	JudgeConsumer                  whether a consumer needs attention, and why
//
// No table is counted beyond operate.CountLimit rows, so that a read costs little on millions of them.
package status
