// Package webui serves the operators' pages, River UI, the metrics and the probes over HTTP, and package eventstream behind a guard.
//
//	request -> host and base path -> probes (no credentials)
//	                              -> credentials, origin, role -> pages, River UI
//	                              -> token, credentials or cookie, origin -> events
//	                              -> token or credentials -> metrics
//
//	/                 Now: what needs attention, and everything at once
//	/trace            finds an event
//	/gates/{gate}     opens and closes a gate, after saying what will run
//	/dead-letters     why events are dead; retries and drops them
//	/rollback         a dry run, and the rollback that the actor's name confirms
//	/audit            who changed what
//	/riverui/         River UI
//	/metrics          Config.Metrics
//	/v1/events        Config.Events
//	/healthz          the process lives; never uses the database
//	/readyz           the worker can work, according to Config.Ready
//	/v1/*.yaml, .json the documents of docs/api that describe all this to programs; no credentials
//
// With Config.Databases, / is an index of databases, and each has all of this below /d/NAME/, by a handler of its own. /readyz names
// those that cannot be worked on.
//
// A change and its audit line are one transaction, for River UI's changes as well. Open pages are kept up to date by an event
// stream. All requests share the readings of the database, and each is kept for at least twenty times as long as it took.
//
// What goes wrong and what happens then:
//
//	the address is taken        Listen fails and says so; nothing else was started
//	no credentials, no loopback Listen fails
//	no credentials, but a proxy 403; the probes are open
//	the database is away        /healthz 200, /readyz 503; pages keep the last values, greyed, under a banner; without values 503
//	one of several databases    its own pages do as above; without a worker they are 503 and say why; /readyz 200 if another works
//	the database login may not  403 with a sentence that names the missing role
//	a viewer changes something  403; without credentials 401; from another site 403; nothing is changed
//	a file of secrets breaks    its last good contents stay in use, and the log says so once
//	a browser reads too slowly  its stream ends; the browser reconnects
//	too many pages are open     a stream gets 200, a time to reconnect, and an end
//	wrong input                 400 with a sentence
//	an unknown path             404 with a sentence
//	the process stops           streams end with a time to reconnect
//
// Pages have no inline script or style and load from this binary alone, which the Content-Security-Policy enforces.
package webui
