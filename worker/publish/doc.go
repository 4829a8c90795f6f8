// Package publish carries every announced event to a distributed log, once and in the order of positions. It is a durable consumer:
// lease, filters, retries, dead letters and lag are those of package subscribe.
//
//	iu_outbox.emission ──subscribe──▶ Run ──Publish──▶ Sink (packages jetstream and kafka)
//	iu_outbox.consumer ◀──moves after the acknowledgements    │
//	                              Last: where the log ends ◀──┘
//
// The log is the source of truth: it is asked for its last event when the process becomes the active one, after each error, and if
// somebody moved the consumer's row. The row follows, for the lag, for pruning and for people.
//
//	failure                                  what happens then
//	process killed                           another one asks the log, and continues after its last event
//	two processes for a moment               the log refuses what does not follow its last event
//	broker away                              logged once; nothing is lost, because the events stay in the table
//	broker lost what it had acknowledged     published again from the table
//	log ahead of the consumer's row          the row moves forward
//	log aged out                             continues after the consumer's row
//	log recreated                            ErrRecreated, unless Config.From says where to begin
//	log written by somebody else             ErrNotOurs
//	history rewound                          RewoundError, or continues after the common part (Config.ContinueRewound)
//	events pruned that the log lacks         PrunedError, or continues where Config.From says
//	log refuses one event                    retried; after Config.MaxTries it is a dead letter of the consumer
//	dead letter replayed                     published out of order, behind the events that are in the log by then
package publish
