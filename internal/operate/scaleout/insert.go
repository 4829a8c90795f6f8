package scaleout

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// tries is how often a transaction is tried that fails with an error which may pass: workers that move the jobs
// of an earlier run lock them in another order than an insert that finds them there.
const tries = 8

// insertPatiently tries again if an error may pass.
func (cfg Config) insertPatiently(ctx context.Context, client *river.Client[pgx.Tx], first, n int) (int, error) {
	locked := false
	for try := 1; ; try++ {
		added, err := cfg.insert(ctx, client, first, n, locked)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == pgerrcode.LockNotAvailable {
			locked = true
		}
		if err == nil || try == tries || !retry.MayPass(err) || ctx.Err() != nil {
			return added, err
		}
		if !retry.Pause(ctx, retry.Work.Wait(try)) {
			return 0, ctx.Err()
		}
	}
}

// begin waits for nobody's lock for long: River's insert would wait for a job that is there already.
var begin = pgx.TxOptions{BeginQuery: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '1s'"}

// insert inserts the jobs of n numbers, and returns how many were new. locked: somebody has locked jobs that are there
// already, so that they have to be looked for one by one.
func (cfg Config) insert(ctx context.Context, client *river.Client[pgx.Tx], first, n int, locked bool) (added int, err error) {
	events := make([]jobs.AutoInstantiateArgs, n)
	for i := range events {
		events[i] = cfg.event(first + i)
	}
	tx, err := cfg.Pool.BeginTx(ctx, begin)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	left := events
	if locked {
		if left, err = withoutJobs(ctx, tx, events); err != nil {
			return 0, err
		}
	}
	for err = errEndedMeanwhile; errors.Is(err, errEndedMeanwhile); {
		if left, err = unknown(ctx, tx, left); err != nil {
			return 0, err
		}
		added, err = insertUnlessKnown(ctx, tx, client, left)
	}
	if err != nil {
		return 0, err
	}
	// A commit that is interrupted may have happened: it is not interrupted, so that what is reported is what was done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	if err := tx.Commit(ctx); err != nil {
		return 0, err
	}
	return added, nil
}

// commitLimit is how long a commit may take after the user interrupted the command.
const commitLimit = 3 * time.Second

// insertUnlessKnown inserts jobs and returns how many were new. If one of them ended between the check for what is known and the
// insert, it inserts none and returns errEndedMeanwhile.
func insertUnlessKnown(ctx context.Context, tx pgx.Tx, client *river.Client[pgx.Tx], events []jobs.AutoInstantiateArgs) (added int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	err = pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		inserted, err := insertJobs(ctx, savepoint, client, events)
		if err != nil {
			return err
		}
		added = len(inserted)
		still, err := unknown(ctx, savepoint, inserted)
		if err == nil && len(still) < len(inserted) {
			err = errEndedMeanwhile
		}
		return err
	})
	return added, err
}

var errEndedMeanwhile = errors.New("a job ended meanwhile")

// insertJobs returns those that had no unfinished job.
func insertJobs(ctx context.Context, tx pgx.Tx, client *river.Client[pgx.Tx], events []jobs.AutoInstantiateArgs) ([]jobs.AutoInstantiateArgs, error) {
	params := make([]river.InsertManyParams, len(events))
	for i, event := range events {
		params[i] = river.InsertManyParams{Args: event, InsertOpts: &river.InsertOpts{Queue: jobs.QueueScaleout}}
	}
	results, err := client.InsertManyTx(ctx, tx, params)
	if err != nil {
		return nil, fmt.Errorf("insert jobs: %w", err)
	}
	var inserted []jobs.AutoInstantiateArgs
	var keys []string
	for i, result := range results {
		if !result.UniqueSkippedAsDuplicate {
			inserted = append(inserted, events[i])
			keys = append(keys, events[i].IdempotencyKey)
		}
	}
	// Jobs that come by no outbox row are in the ledger all the same.
	if _, err := tx.Exec(ctx, "SELECT iu_outbox.note_jobs($1::text[])", keys); err != nil {
		return nil, fmt.Errorf("note the jobs in the ledger: %w", err)
	}
	return inserted, nil
}

// eventSpace is the namespace of the events' ids.
var eventSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("urn:iuworker:scaleout"))

func (cfg Config) event(number int) jobs.AutoInstantiateArgs {
	suffix := cfg.Prefix + "-" + strconv.Itoa(number)
	id := eventID(cfg.Prefix, number)
	now := time.Now().UTC()
	event := jobs.AutoInstantiateArgs{
		EventID: id, EventType: cfg.EventType, TemplateCollectionID: cfg.Template, InstanceKeySuffix: suffix,
		EmitMode: cfg.EmitMode, Actor: cfg.Actor, Priority: 1, AvailableAt: now, CreatedAt: now,
	}
	event.IdempotencyKey = event.Key()
	return event
}

// withoutJobs returns the events that have no unfinished job, locked or not.
func withoutJobs(ctx context.Context, tx pgx.Tx, events []jobs.AutoInstantiateArgs) ([]jobs.AutoInstantiateArgs, error) {
	return those(ctx, tx, events, "NOT EXISTS (SELECT FROM iu_outbox.unfinished_jobs(k.key))")
}

// unknown returns the events that were not composed, do not wait in the outbox and are no dead letters. Unfinished jobs
// are found by River itself.
func unknown(ctx context.Context, tx pgx.Tx, events []jobs.AutoInstantiateArgs) ([]jobs.AutoInstantiateArgs, error) {
	return those(ctx, tx, events, `
		NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = k.key)
		AND NOT EXISTS (SELECT FROM iu_outbox.dead_letter AS d WHERE d.event_id = k.event_id AND d.idempotency_key = k.key)
		AND NOT EXISTS (SELECT FROM iu_outbox.event AS e WHERE e.event_id = k.event_id AND e.idempotency_key = k.key)`)
}

// those returns the events that meet a condition on k.key and k.event_id.
func those(ctx context.Context, tx pgx.Tx, events []jobs.AutoInstantiateArgs, condition string) ([]jobs.AutoInstantiateArgs, error) {
	keys, ids := make([]string, len(events)), make([]string, len(events)) // texts pass in every mode of the protocol
	for i, event := range events {
		keys[i], ids[i] = event.IdempotencyKey, event.EventID.String()
	}
	numbers, err := operate.Collect(ctx, tx, pgx.RowTo[int], `
		SELECT k.n::integer - 1
		FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]::uuid[])) WITH ORDINALITY AS k (key, event_id, n)
		WHERE `+condition+` ORDER BY k.n`, keys, ids)
	if err != nil {
		return nil, fmt.Errorf("look for known events: %w", err)
	}
	met := make([]jobs.AutoInstantiateArgs, len(numbers))
	for i, number := range numbers {
		met[i] = events[number]
	}
	return met, nil
}
