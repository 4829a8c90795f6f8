// Package scaleout composes a template many times in bulk, in a queue of its own, so that live events never wait for it.
//
//	Start            inserts a job for each number from 1 to Count; repeated, it adds only those that are missing
//	List, Meter      every scale-out, its progress and its rate
//	Read, ReadLeft   one scale-out, by the ids of its events, which are derived from its prefix
//	Cancel           cancels the jobs that have not begun
//
// Failures:
//
//	another event owns the instance keys          PrefixTakenError; nothing is inserted
//	ctx ends, or the database fails for long      Start returns how far it came; the same call continues
//	another transaction has locked earlier jobs   Start waits a second, then leaves those jobs out
//	a job ends between the check and the insert   the batch is checked again
package scaleout
