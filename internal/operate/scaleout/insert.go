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

// tries is how often a transaction is tried if it fails with an error that may pass, such as a deadlock: workers lock the
// jobs of an earlier run in another order than an insert that finds them.
const tries = 8

// insertPatiently is insert, retried if an error may pass.
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

// begin limits the wait for locks: River's insert would wait for a locked job that exists already.
var begin = pgx.TxOptions{BeginQuery: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '1s'"}

// insert inserts the jobs of n numbers, and returns how many were new. If locked is true, another transaction has locked jobs of
// these numbers, and insert skips the events that have a job before it calls River.
func (cfg Config) insert(ctx context.Context, client *river.Client[pgx.Tx], first, n int, locked bool) (added int, err error) {
	events := make([]jobs.AutoInstantiateArgs, n)
	for i := range events {
		events[i] = cfg.event(first + i)
	}
	tx, err := cfg.Pool.BeginTx(ctx, begin)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // no effect after a commit
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
	// An interrupted commit may or may not have happened. So ctx does not interrupt it, and the result is what was done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	if err := tx.Commit(ctx); err != nil {
		return 0, err
	}
	return added, nil
}

// commitLimit is how long a commit may take after the user interrupted the command.
const commitLimit = 3 * time.Second

// insertUnlessKnown inserts jobs and returns how many were new. If one of them ended between the check and the insert, it inserts
// none and returns errEndedMeanwhile.
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

// insertJobs inserts jobs, and returns the events that had no unfinished job.
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
	// The ledger also has jobs that did not come from an outbox row.
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
	return filter(ctx, tx, events, "NOT EXISTS (SELECT FROM iu_outbox.unfinished_jobs(k.key))")
}

// unknown returns the events that were not composed, are not in the outbox and are not dead letters. River itself finds
// unfinished jobs.
func unknown(ctx context.Context, tx pgx.Tx, events []jobs.AutoInstantiateArgs) ([]jobs.AutoInstantiateArgs, error) {
	return filter(ctx, tx, events, `
		NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = k.key)
		AND NOT EXISTS (SELECT FROM iu_outbox.dead_letter AS d WHERE d.event_id = k.event_id AND d.idempotency_key = k.key)
		AND NOT EXISTS (SELECT FROM iu_outbox.event AS e WHERE e.event_id = k.event_id AND e.idempotency_key = k.key)`)
}

// filter returns the events that meet a condition on k.key and k.event_id.
func filter(ctx context.Context, tx pgx.Tx, events []jobs.AutoInstantiateArgs, condition string) ([]jobs.AutoInstantiateArgs, error) {
	keys, ids := make([]string, len(events)), make([]string, len(events)) // texts pass in every mode of the protocol
	for i, event := range events {
		keys[i], ids[i] = event.IdempotencyKey, event.EventID.String()
	}
	numbers, err := operate.Collect(ctx, tx, pgx.RowTo[int], `
		SELECT k.n::integer - 1
		FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]::uuid[])) WITH ORDINALITY AS k (key, event_id, n)
		WHERE `+condition+` ORDER BY k.n`, keys, ids)
	if err != nil {
		return nil, fmt.Errorf("find known events: %w", err)
	}
	met := make([]jobs.AutoInstantiateArgs, len(numbers))
	for i, number := range numbers {
		met[i] = events[number]
	}
	return met, nil
}
