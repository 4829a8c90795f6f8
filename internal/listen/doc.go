// Package listen keeps connections to PostgreSQL that outlive a server's outage.
//
//	Listener   rings a Bell for each notification on its connection, and after each (re)connect
//	KeepAlive  makes the operating system detect a dead server within seconds
//	Works      reports whether notifications reach a session
//
// A notification only saves waiting: code that waits for a Bell reads its table when the bell rings, and also polls.
//
//	failure                                 what happens then
//	connection or server lost               the listener rings, reconnects with backoff, and rings: the backlog is read
//	server silent (no FIN, no RST)          the listener's own ping does not arrive; it closes the socket and reconnects
//	LISTEN refused (a server in recovery)   the listener retries with backoff; polling finds new rows
//	failover, old primary still readable    the ping goes to the new primary and does not arrive: as for a silent server
//	a transaction pooler in between         Works returns false, and leaves no LISTEN there; polling finds new rows
package listen
