// Package listen keeps connections to PostgreSQL that outlive a server's outage.
//
//	Listener   one connection that listens; rings a Bell for each notification and after each (re)connect
//	KeepAlive  makes the operating system notice a dead server within seconds
//	Works      asks whether notifications reach a session at all
//
// A notification only saves waiting: whoever waits on a Bell reads its table when it rings, and polls besides.
//
//	failure                                 what happens then
//	connection or server lost               rings: polls replace it; reconnects with backoff, and rings: the backlog is read
//	server silent (no FIN, no RST)          the listener's own ping does not arrive: cut and connected anew
//	LISTEN refused (a server in recovery)   tried again with backoff; the poll finds what is new
//	server read-only, another one written   the ping goes to that one and does not arrive: as a silent server
//	a transaction pooler in between         Works tells, and leaves no LISTEN there; the poll finds what is new
package listen
