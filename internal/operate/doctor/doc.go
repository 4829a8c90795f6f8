// Package doctor checks everything that events need to be composed, and returns what to do about each fault.
//
// The table in doctor.go names the checks, what they need and their order. A check is one method of examination, in a file
// named after its subject. It reads in a read-only transaction, and returns a Check: fine, warn, failed or
// skipped, with the details and the commands to run.
//
//	what happens                                  what the report says
//	the database cannot be reached                "connection" fails, all others are skipped
//	the schema is missing                         checks that need it are skipped
//	the login lacks a privilege                   the check is skipped, with the role that it needs
//	row security would hide rows                  the check is skipped, and "row security" reports the way out
//	a statement waits for a lock, or is too slow  the check fails: the worker's own statements fail likewise
//	Config.Timeout is over                        the remaining checks are skipped
//
// Run changes nothing and is safe for concurrent use.
package doctor
