// Package iutest gives each test a PostgreSQL database of its own.
//
//	Main     runs a package's tests, ends the server, looks for goroutines that were left
//	New      a database with everything that iuworker migrates, cloned from a template
//	Empty    a database with nothing in it
//	Encoded  as Empty, in another encoding
//	Own      as New, on a server that the test may restart or kill
//	Standby  a streaming standby of what Own made
//	Switch   an address whose new connections can be led to another server
//	Bouncer  a PgBouncer before a database
//
// One private server a test process, started by the first test that asks for a database; the template is migrated
// once. Databases are dropped when their test ends, whoever is still connected. PG*, DATABASE_URL and IUWORKER_*
// of the environment are ignored. The server takes every login from this machine without a password, and
// what it holds is lost with the machine: fsync is off.
//
// Only tests import this package.
package iutest
