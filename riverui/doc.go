// Package webui is what iuworker says over HTTP.
//
//	request -> host and base path -> probes (no credentials)
//	                              -> credentials, origin, role -> pages, River UI, whatever Config adds
//
//	/            the operators' page
//	/riverui/    River UI
//	/healthz     the process lives; asks nobody
//	/readyz      the worker can work, as Config.Ready sees it
//
// What goes wrong and what happens then:
//
//	the address is taken        Listen fails and says so; nothing else was started
//	no credentials, no loopback Listen fails
//	the database is away        /healthz 200, /readyz 503, pages 503 with a sentence
//	wrong input                 400 with a sentence
//	an unknown path             404 with a sentence
//
// Pages hold no script and no style inline and come from this binary alone, which the Content-Security-Policy says.
package webui
