// Package compose works River's jobs: a job of kind auto_instantiate calls the SQL function
// fn_iu_auto_instantiate_from_event and turns its result into the job's outcome.
//
//	status of the function                     job
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
// Jobs that run at once are composed together, many in one statement (Batcher): a transaction of its own costs more than the
// call. A Throttle bounds how many events per second that are.
//
//	a batch fails                              retried once with a savepoint per event: each fails by itself
//	it takes longer than 5 s, or much memory   each event in a transaction of its own
//	an event failed before                     composed in a lane of its own, with savepoints
//	an event took too long, or much memory     composed alone, up to 25 s, one such event at a time
//	its template or a piece is locked          set aside at once, as are others of that template; retried within 5 s
//
// The function stays idempotent forever, so a job that runs twice composes once: a worker may die at any time between the
// function's commit and the completion of the job. A trigger on the job table writes dead letters, in the statement that ends
// the job.
package compose
