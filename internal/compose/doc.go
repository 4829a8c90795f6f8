// Package compose works River's jobs: a job of kind auto_instantiate has the instance of its event composed, and the status that
// this returns becomes the job's outcome.
//
//	status                                     job
//	instantiated, idempotent_replay            completed, result in the job's output
//	composer_disabled, live_gate_closed        parked until the gate opens; uses up no attempt
//	invalid_input, template_*,
//	instance_key_conflict                      cancelled; dead letter
//	fault of the installation (FaultOf)        parked until it is fixed; uses up no attempt (Hold)
//	database error that may pass               retried for a day, at most a minute apart;
//	(08, 40, 53, 55, 57, 58, XX; no server)    then cancelled; dead letter
//	any other error                            retried, 10 attempts; then discarded; dead letter
//
// A fault that one job meets three times while others are composed is its own: then it counts as any other error.
//
// Jobs that run at once are composed together, many in one transaction (Batcher, compose_batch): one of its own costs more than
// composing. A Throttle bounds how many events per second that are. Either way of composing leaves the same rows and statuses:
//
//	four or more events of one template        in a set, one statement per table (compose_set)
//	other events, and what a set leaves aside  by a call of fn_iu_auto_instantiate_from_event for each
//	iu-core has its own functions, or
//	BatcherConfig.ByFunction                   all by a call for each
//	a suffix that another transaction holds    set aside (ErrKeyHeld); retried within 5 s
//
// What goes wrong in a transaction, and what happens then:
//
//	a batch takes longer than a second         what it did not get to is composed in another transaction
//	a batch fails                              retried once with a savepoint per event: each fails by itself
//	it takes longer than 5 s, or much memory   each event in a transaction of its own
//	an event failed before                     composed in a lane of its own, with savepoints
//	an event took too long, or much memory     composed alone, up to 25 s, one such event at a time
//	its template or a piece is locked          set aside at once, as are others of that template; retried within 5 s
//
// Before that, the relay composes claimed events that are sure to end well, in the same ways (Worker.ComposeClaimed). If that
// fails, all of them become jobs, and the table above applies.
//
// The transaction of a batch completes its jobs, too, and River is kept from doing so (Worker.Ended); what it leaves, and the job
// of a single event or of one that failed before, River completes. A worker may die at any time before that: the log keeps the
// idempotency key forever, so a job that runs twice composes once. A trigger on the job table writes dead letters, in the
// statement that ends the job.
package compose
