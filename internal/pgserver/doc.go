// Package pgserver runs a private PostgreSQL: the embedded default of demo, dev and the tests.
//
//	Start    ends what killed programs left behind
//	   │     finds the binaries (BinDir, PATH, pg_config, Debian, RHEL, Homebrew), else downloads them
//	   │     claims a private directory and locks it for the life of the program
//	   │     initdb, then postgres on a socket in that directory, or on a free loopback port
//	   ▼     waits until it replies, and replies as the server that was started
//	Stop     fast shutdown; the directory goes
//
// PostgreSQL refuses to run as root: started by root, the server runs as postgres where that user exists,
// else as nobody. Everybody else runs it as themselves.
//
// What may go wrong, and what happens then:
//
//	no binaries, no download     Start fails and names the package to install
//	the port is taken meanwhile  another port
//	the server does not come up  Start fails with the last lines of its log, nothing stays behind
//	the program gets Ctrl-C      the server does not: it has a session of its own, and Stop ends it
//	the program is killed        Linux: the server gets its fast shutdown from the kernel;
//	                             everywhere: the next Start ends the server and removes the directory
//	the server does not stop     immediate shutdown, then SIGKILL
package pgserver
