// Package scaleout composes a template many times in bulk, in a queue of its own, so that live events never wait for it.
//
//	Start            inserts the jobs of the numbers 1 to Count, which may run again: what is there is not added twice
//	List, Meter      every scale-out, how far it is, and how fast it goes
//	Read, ReadLeft   one scale-out, by its events' ids, which come from its prefix
//	Cancel           takes back the jobs that have not begun
//
// Failures:
//
//	another event owns the instance keys          PrefixTakenError; nothing is inserted
//	ctx ends, or the database fails for long      Start returns how far it came; the same call goes on
//	another transaction has locked earlier jobs   Start waits a second, then leaves those jobs out
//	a job ends between the check and the insert   the batch is checked again
package scaleout
