// Package eventstream serves the events of the outbox as Server-Sent Events: GET /v1/events.
//
//	request -> parameters and Last-Event-ID -> subscribe.Tail.Follow -> a stream of the follower's own
//
// One subscribe.Tail reads the database for all streams. A stream sends each event with its cursor as its id; a client that
// reconnects sends the last id and continues after it. The package does not check who a client is.
//
// What goes wrong and what happens then, to a client that asks for text/event-stream, as every EventSource does, and to others:
//
//	wrong parameters             400 with a sentence for both
//	too many clients             200, a time to reconnect and an end; 503 for others
//	the database is away         the same
//	the login may not read       the same: the installation is at fault, not the client
//	the process stops            the same; streams that are open end in order, at random times to reconnect
//	the cursor is lost           200, the event "problem" and a long time to reconnect; 409 or 410 for others
//	a client reads too slowly    its connection is cut; it continues after its cursor when it reconnects
package eventstream
