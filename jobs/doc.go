// Package jobs is what an application needs to insert jobs of its own into River, in place of rows into the outbox: the
// arguments of a job of kind auto_instantiate, the options with which it is inserted, the queues, and the statuses that a
// job's output can have.
//
//	args, err := jobs.NewAutoInstantiate(jobs.AutoInstantiateArgs{...})
//	_, err = client.InsertTx(ctx, tx, args, nil)
//
//	the args are not valid                     NewAutoInstantiate returns ErrInvalidArgs
//	an unfinished job has the same key         River skips the insert
//	a finished job has the same key            the new job's status is idempotent_replay
//	the key is not the event's                 encoding fails; a job inserted all the same is cancelled
package jobs
