-- How the worker's schema works.
--
-- An application inserts a row into iu_outbox.event, in its own transaction. The trigger event_doorbell sends a NOTIFY
-- only if the relay sleeps.
-- The relay calls claim(): it deletes rows from the outbox, and inserts a River job for each in the same transaction. If their
-- instances can be composed at once, that transaction composes them, too, and their jobs are completed from the start
-- (compose_claimed). For the only row in the outbox, compose_alone() does all of this in one call. Rows with one idempotency key become one
-- job. A row that cannot become a job becomes a dead letter (set_row_aside).
-- Jobs that run at once, and the relay, call compose_batch(), which calls iu-core's fn_iu_auto_instantiate_from_event for each event: it writes
-- the instance and a row of iu_auto_instantiate_event_log, whose unique key makes a second run a replay. For many events of one
-- template compose_set() writes the same rows, one statement per table, unless iu-core has its own functions (set_obstacle).
-- Jobs that end well are completed in the same transaction (complete_jobs).
-- A closed gate parks the job: it is scheduled far in the future, and resume_parked() makes it available again.
-- An error that may pass delays the job; schedule_jobs() makes it available when its time has come.
-- A job that ends without an instance leaves a dead letter (keep_dead_letter). An operator puts its event back into the
-- outbox (retry_dead_letters), or drops it (drop_dead_letters). event_state() says where an event is.
-- A trigger on the log table writes an emission for each live instance (write_emission), as yet without its event.
-- emit() gives emissions their positions, builds their CloudEvents from the log (composed_event), and sends a NOTIFY for each.
-- The counter row, which it locks, makes positions commit in order: a reader that has read up to P never finds a row at or
-- below P later. A transaction that composes a single event calls it at its end (emit_alone), without waiting for the emitter.
-- A rollback in iu-core deletes emissions that have no position and marks the others (roll_back_emission).
-- A restored or promoted database begins a new epoch (current_epoch), so that a cursor, EPOCH-POSITION, of a lost history
-- is not taken for one of this history (cursor_state).
-- A consumer is a cursor with a name and a lease (open_consumer, hold_consumer). prune_emissions() deletes old emissions
-- that no consumer still needs; attend() measures time for that, and only while workers run.
-- Each worker process has a row in iu_outbox.worker, its lease, and renews it every 2 s (renew_lease). sweep_leases() deletes
-- those that have expired and releases their jobs (release_jobs); fence() fails in a process whose lease was deleted while it
-- was suspended.
-- The ledger (iu_outbox.claimed, iu_outbox.settled) notes every event that leaves the outbox, so that verify can prove
-- that none was lost. write_history() counts what happened, a row a minute, for the pages' charts.
-- What roles may do is the list in grants.sql.
--
-- Below is the order of installation. A view, and a function in SQL, comes after what it uses. All of it may run again:
-- migrate up does so in one transaction, if another program installed it. With psql: psql -v ON_ERROR_STOP=1 -1 -f install.sql

\ir row_security.sql
\ir server.sql
\ir as_uuid.sql
\ir job.sql
\ir doorbell.sql
\ir ledger.sql
\ir template.sql
\ir add_event.sql
\ir claim.sql
\ir set_row_aside.sql
\ir compose_set.sql
\ir compose_batch.sql
\ir compose_apart.sql
\ir compose_claimed.sql
\ir compose_alone.sql
\ir cloud_event.sql
\ir payload.sql
\ir epoch.sql
\ir emit.sql
\ir write_emission.sql
\ir roll_back_emission.sql
\ir keep_dead_letter.sql
\ir change_jobs.sql
\ir event_state.sql
\ir lock_holder.sql
\ir lease.sql
\ir worker_status.sql
\ir gate.sql
\ir setting.sql
\ir retry_dead_letters.sql
\ir drop_dead_letters.sql
\ir sequences.sql
\ir new_event.sql
\ir cursor.sql
\ir consumer.sql
\ir consumer_status.sql
\ir attend.sql
\ir prune_emissions.sql
\ir ended_jobs.sql
\ir count_minute.sql
\ir write_history.sql
\ir enable_triggers.sql
\ir grants.sql
\ir intended_grant.sql
\ir foreign_grant.sql
\ir roles.sql
