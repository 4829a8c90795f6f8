// Package address reads the address of a database as libpq does, and makes configurations of pgx from it.
//
//	text, or a file that holds it -> parse: URI or keyword/value -> service file, PG*, defaults -> check, by a list of all
//	parameters -> pgx's configuration
//
// A configuration, and every copy of it, reads its source again for each new connection: the file that holds the address,
// service file, passfile, certificates, key, CA and revocation lists. It tries the host that was good last first, each for
// a time of its own.
//
// What is wrong                                 What happens
//
//	a parameter or value that libpq refuses       an *Error before anything connects; it names parameters, never values
//	a parameter that pgx cannot honour            likewise, if to leave it out would weaken what was asked for
//	a text that cannot be taken apart             an *Error that repeats none of it: any part may be the password
//	a file is broken at the start                 an *Error that names the file
//	a file is broken later                        the last good reading stays in use, and the log says so once
//	a host does not reply                         the next one, after connect_timeout (3 s with several hosts, else 10 s)
//	several hosts, none wanted in particular      one that may write is preferred
package address
