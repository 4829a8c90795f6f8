// Package iutest gives each test a PostgreSQL database of its own. Only tests import it.
//
//	Main      runs a package's tests, stops the server and checks for leaked goroutines
//	New       a database with everything that iuworker migrates, cloned from a template
//	Empty     an empty database
//	Encoded   an empty database in another encoding
//	Own       as New, on a server that the test may restart or kill
//	OwnAt     as Own, on a server whose clock is off
//	Standby   a streaming standby of what Own made
//	Switch    an address whose new connections can be led to another server
//
// A test process has one private server, which the first test that needs it starts; the template is migrated once. Databases
// are dropped when their test ends, even if sessions are connected. PG*, DATABASE_URL and IUWORKER_* of the environment are
// ignored. The server accepts every login from this machine without a password, and runs with fsync off.
package iutest
