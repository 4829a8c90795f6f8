package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// actor is the actor of all events.
const actor = "iuworker-bench"

// sent is a batch of events that were inserted.
type sent struct {
	n         int
	at        time.Time
	emissions int64 // the number of emissions when all of them are composed
}

// send inserts n events, and records the time after the commit.
func (s *scratch) send(ctx context.Context, n int, insert func(context.Context, int) error) (sent, error) {
	written, err := s.emissionsWritten(ctx)
	if err == nil {
		err = insert(ctx, n)
	}
	return sent{n: n, at: time.Now(), emissions: written + int64(n)}, err
}

// insertRows inserts n rows into the outbox in one transaction: all of them appear at once.
func (s *scratch) insertRows(ctx context.Context, n int) error {
	return s.Exec(ctx, "insert outbox rows", `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, actor)
		SELECT 'bench.happened', $2, 'row-' || pg_catalog.gen_random_uuid(), $3 FROM pg_catalog.generate_series(1, $1)`,
		n, s.Template, actor)
}

// insertJobs inserts n jobs into River in one transaction, as insertRows does.
func (s *scratch) insertJobs(ctx context.Context, n int) error {
	client, err := river.NewClient(riverpgxv5.New(s.Pool), &river.Config{
		Schema: jobs.RiverSchema, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("set River up: %w", err)
	}
	params := make([]river.InsertManyParams, n)
	for i := range params {
		params[i] = river.InsertManyParams{Args: s.job()}
	}
	err = pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		if _, err := client.InsertManyFastTx(ctx, tx, params); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT pg_catalog.pg_notify($1, $2)",
			jobs.RiverSchema+".river_insert", fmt.Sprintf(`{"queue": %q}`, jobs.QueueEvents))
		return err
	})
	if err != nil {
		return fmt.Errorf("insert jobs: %w", err)
	}
	return nil
}

// job returns the job that the relay would make from a row.
func (s *scratch) job() jobs.AutoInstantiateArgs {
	id, suffix, now := uuid.New(), "job-"+uuid.NewString(), time.Now().UTC()
	event := jobs.AutoInstantiateArgs{
		EventID: id, EventType: "bench.happened", TemplateCollectionID: s.Template, InstanceKeySuffix: suffix,
		EmitMode: "live", Actor: actor, Priority: 1, AvailableAt: now, CreatedAt: now,
		TraceContext: json.RawMessage("{}"),
	}
	event.IdempotencyKey = event.Key()
	return event
}

// tally counts what events lead to.
type tally struct{ instances, completed, emitted, dead int }

func (s *scratch) count(ctx context.Context) (t tally, err error) {
	err = s.Read(ctx, "count", []any{&t.instances, &t.completed, &t.emitted, &t.dead}, `
		SELECT (SELECT pg_catalog.count(*) FROM public.iu_auto_instantiate_event_log),
		       (SELECT pg_catalog.count(*) FROM iu_outbox.job WHERE state = 'completed'),
		       (SELECT c.position FROM iu_outbox.emission_counter AS c),
		       (SELECT pg_catalog.count(*) FROM iu_outbox.dead_letter)`)
	return t, err
}

// whole is when events are done.
type whole bool

const (
	toJobs   whole = false // instances are committed, jobs completed
	toEvents whole = true  // and events are emitted
)

// await waits until all events are done. That query reads many dead rows while jobs are inserted and completed, so await
// first polls the number of emissions, which is cheap, until there may be enough of them.
func (s *scratch) await(ctx context.Context, what sent, how whole) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute+time.Duration(what.n)*10*time.Millisecond,
		fmt.Errorf("%d events were not done in time", what.n))
	defer cancel()
	const inAnyCase = 2 * time.Second // there may be fewer emissions if something went wrong
	last := time.Now()
	for done := false; !done && err == nil; {
		if !retry.Pause(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
		var written int64
		written, err = s.emissionsWritten(ctx)
		if err != nil || written < what.emissions && time.Since(last) < inAnyCase {
			continue
		}
		last = time.Now()
		err = s.Read(ctx, "see whether all events are done", []any{&done}, `
			SELECT NOT EXISTS (SELECT FROM iu_outbox.event)
			   AND NOT EXISTS (SELECT FROM iu_outbox.job AS j WHERE j.unfinished)
			   AND NOT ($1 AND EXISTS (SELECT FROM iu_outbox.emission AS e WHERE e.position IS NULL))`, bool(how))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// walk sends n events and waits until they are emitted.
func (s *scratch) walk(ctx context.Context, n int, insert func(context.Context, int) error) error {
	events, err := s.send(ctx, n, insert)
	if err != nil {
		return err
	}
	return s.await(ctx, events, toEvents)
}

// emissionsWritten returns how many emissions were ever written, those of open transactions included.
func (s *scratch) emissionsWritten(ctx context.Context) (written int64, err error) {
	err = s.Read(ctx, "read the number of emissions", []any{&written}, `
		SELECT COALESCE(pg_catalog.pg_sequence_last_value(
			pg_catalog.pg_get_serial_sequence('iu_outbox.emission', 'id')::pg_catalog.regclass), 0)`)
	return written, err
}

// emitted returns how many events were ever emitted.
func (s *scratch) emitted(ctx context.Context) (position int64, err error) {
	err = s.Read(ctx, "read the last position", []any{&position}, "SELECT c.position FROM iu_outbox.emission_counter AS c")
	return position, err
}

// verify returns an error unless n events led to n instances, jobs and emissions since the tally before.
func (s *scratch) verify(ctx context.Context, before tally, n int) error {
	now, err := s.count(ctx)
	if err != nil {
		return err
	}
	got := tally{now.instances - before.instances, now.completed - before.completed, now.emitted - before.emitted, now.dead - before.dead}
	if got == (tally{n, n, n, 0}) {
		return nil
	}
	var why string
	err = s.Read(ctx, "look for dead letters", []any{&why}, `
		SELECT pg_catalog.concat_ws(': ', d.status, d.detail) FROM iu_outbox.dead_letter AS d ORDER BY d.id DESC LIMIT 1`)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return fmt.Errorf("%d events made %d instances, %d completed jobs, %d emitted events and %d dead letters %s",
		n, got.instances, got.completed, got.emitted, got.dead, why)
}
