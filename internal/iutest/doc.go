// Package iutest gives each test a PostgreSQL database of its own. Only tests import it.
//
//	Main      runs a package's tests, stops the server and checks for leaked goroutines
//	New       a migrated database, cloned from a template
//	Empty     an empty database
//	Encoded   an empty database in another encoding
//	Own       like New, on a server that the test may restart or kill
//	OwnAt     like Own, on a server whose clock is wrong
//	Standby   a database of Own on a streaming standby, which the test may promote, pause or cut off
//	Eventually, DB.WaitFor wait until a condition holds
//	Switch    an address whose new connections can be sent to another server
//
// Each test process has a private server, which the first test that needs it starts. The template is migrated once. Databases
// are dropped when their test ends, even if sessions are connected. The variables PG*, DATABASE_URL and IUWORKER_* are ignored.
// The server accepts all logins from this machine without a password, and runs with fsync off. On Linux its data lies in /dev/shm
// if that has room for it; set TMPDIR to put it elsewhere.
package iutest
