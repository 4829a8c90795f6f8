// Package kafka publishes events to a topic of Kafka, a page of events in one transaction.
//
//	transactional.id    iuworker.<source>.<consumer>: a process that starts to publish shuts out the one before it
//	<topic>             the events, with the key that Config.Key says
//	<topic>.cursor      compacted; a record per consumer with the cursor of its last event, written in the same transaction
//
// The record in the cursor topic says where to continue, as Kafka Connect does it for sources (KIP-618): it is there if the events
// are. Readers must set isolation.level to read_committed, or they see events of transactions that were aborted. Order holds within
// a partition, and so for the events of one key.
//
//	failure                             what happens then
//	publisher killed in a transaction   the next one aborts it, and sends its events again
//	old publisher continues             its transaction is refused: ErrFenced
//	commit in doubt                     the cursor topic tells
//	broker away                         AwayError: tried again
//	event too large                     RefusedError
//	login or right refused              an error that ends the publisher
package kafka
