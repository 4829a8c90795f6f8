// Package webui is what iuworker says over HTTP.
//
//	request -> host and base path -> probes (no credentials)
//	                              -> credentials, origin, role -> pages, River UI, metrics
//	                              -> token, credentials or cookie, origin -> events
//
//	/                 Now: what needs somebody, and everything at once; kept up to date, as every view is
//	/trace            one event's whole way
//	/gates/{gate}     opens and closes, after it said what will run
//	/dead-letters     why they are dead; retries and drops them
//	/rollback         the dry run, and the rollback that was confirmed by the actor's name
//	/audit            who changed what
//	/riverui/         River UI
//	/metrics          Config.Metrics
//	/v1/events        Config.Events: package eventstream
//	/healthz          the process lives; asks nobody
//	/readyz           the worker can work, as Config.Ready sees it
//
// A change and its audit line are one transaction, those that River UI makes included. Readings are shared by all who
// look, and kept for at least twenty times as long as they took.
//
// What goes wrong and what happens then:
//
//	the address is taken        Listen fails and says so; nothing else was started
//	no credentials, no loopback Listen fails
//	no credentials, but a proxy 403; the probes are open
//	the database is away        /healthz 200, /readyz 503; pages keep the last values, greyed, under a banner; without any 503
//	the database login may not  403 with a sentence that names the role that is missing
//	a viewer changes something  403; without credentials 401; from another site 403; nothing is changed
//	a file of secrets breaks    its last good contents stay in use, and the log says so once
//	a reader is slow            its stream is cut off; the browser reconnects by itself, and goes on after its cursor
//	wrong input                 400 with a sentence
//	an unknown path             404 with a sentence
//	the history is rewound      an EventSource gets the event "problem", again each minute or two; other clients get 410
//	no stream now               an EventSource gets 200, the time to reconnect, and an end; other clients get 503
//	the process stops           streams end with a time to reconnect, which differs so that not all do it at once
//
// Pages hold no script and no style inline and come from this binary alone, which the Content-Security-Policy says.
package webui
