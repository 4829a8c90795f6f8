// Package address reads the address of a database as libpq does, and makes configurations of pgx from it.
//
//	text, or a file that holds it -> parse: URI or keyword/value -> service file, PG*, defaults -> check each parameter
//	against one list -> pgx's configuration
//
// A configuration, and each copy of it, reads its source again for every new connection: the file that holds the address,
// the service file, the passfile, certificates, keys and revocation lists. It first tries the host that worked last. Each
// host has its own timeout.
//
//	failure                                       what happens
//
//	a parameter or value that libpq refuses       an *Error before anything connects; it names parameters, never values
//	a parameter that pgx cannot honour            the same, if to ignore it would weaken what was asked for
//	a text that cannot be parsed                  an *Error that repeats none of it: any part may be the password
//	a file that cannot be read at the start       an *Error that names the file
//	a file that cannot be read later              the last good reading stays in use, and the log says so once
//	a host that does not reply                    the next one, after connect_timeout (3 s with several hosts, else 10 s)
//	several hosts, no target_session_attrs        one that may write is preferred
package address
