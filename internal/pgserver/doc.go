// Package pgserver runs a private PostgreSQL: the default of demo, dev and the tests.
//
//	Start    ends what killed programs left behind
//	   │     finds the binaries (BinDir, PATH, pg_config, Debian, RHEL, Homebrew), else downloads them
//	   │     claims a private directory and locks it for the life of the program
//	   │     initdb, then postgres on a socket in that directory, or on a free loopback port
//	   ▼     waits until the server replies
//	Stop     fast shutdown; removes the directory
//
//	Standby  copies a running server and starts the copy, which streams from it; Promote makes it a primary.
//	         SetSynchronous, PauseReplay and StopReceiving decide what a failover loses; URL names several servers.
//
// PostgreSQL refuses to run as root. If root starts it, it runs as the user postgres or, if that does not exist, as nobody.
//
//	failure                      what happens
//	no binaries, no download     Start fails and names the package to install
//	the port was taken           another port
//	the server does not start    Start fails with the last lines of its log, and leaves nothing behind
//	the program gets Ctrl-C      the server does not: it has a session of its own, and Stop ends it
//	the program is killed        Linux: the kernel asks the server for a fast shutdown;
//	                             everywhere: the next Start ends the server and removes the directory
//	the server does not stop     immediate shutdown, then SIGKILL
package pgserver
