// Package jetstream publishes events to a stream of NATS JetStream as a chain: each message names its predecessor, and the server
// refuses one that does not follow the last message.
//
//	Nats-Msg-Id                   the event's cursor
//	Nats-Expected-Last-Msg-Id     the cursor that was published before it
//	Nats-Expected-Last-Sequence   instead of that, if the stream is empty or its last message was deleted
//	Nats-Expected-Stream          the stream
//	Iuworker-Place                of a replayed dead letter alone: the cursor and the id of the event in order before it
//
// Up to Config.Window messages are in flight. If one is lost or refused, those behind it are refused as well, whatever the server
// receives and however late: the stream has no gap, and no event out of order. Then the caller asks for the last message, and
// continues after it.
//
//	failure                            what happens then
//	server restarted or moved          reconnects to any of the servers; what was in flight counts as unknown, the stream tells
//	acknowledgement lost               the same; messages that the stream has are not sent again, or counted as duplicates
//	old messages of a stopped process  duplicates within the stream's window, refused after it
//	stream full, or without a leader   AwayError: tried again
//	message too large                  RefusedError
//	no stream, or one that is not for  an error that ends the publisher
//	this use
//	last message deleted               sent again once the stream's duplicate window has passed
package jetstream
