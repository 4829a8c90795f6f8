// Package jobs is for applications that insert jobs into River themselves instead of rows into the outbox. It has the arguments
// and the insert options of a job of kind auto_instantiate, the queues, and the statuses in a job's output.
//
//	args, err := jobs.NewAutoInstantiate(jobs.AutoInstantiateArgs{...})
//	_, err = client.InsertTx(ctx, tx, args, nil)
//
//	failure                                    what happens then
//	the args are invalid                       NewAutoInstantiate returns ErrInvalidArgs
//	an unfinished job has the same key         River skips the insert
//	a finished job has the same key            the new job's status is idempotent_replay
//	the key is not the event's                 River's Insert fails; the worker cancels a job inserted by other means
package jobs
