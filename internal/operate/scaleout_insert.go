package operate

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

	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// scaleoutTries is how often a transaction is tried that fails with an error which may pass: workers that move the jobs
// of an earlier run lock them in another order than an insert that finds them there.
const scaleoutTries = 8

// insertPatiently tries again if an error may pass.
func (cfg ScaleoutConfig) insertPatiently(ctx context.Context, client *river.Client[pgx.Tx], first, n int) (int, error) {
	locked := false
	for try := 1; ; try++ {
		added, err := cfg.insert(ctx, client, first, n, locked)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == pgerrcode.LockNotAvailable {
			locked = true
		}
		if err == nil || try == scaleoutTries || !retry.MayPass(err) || ctx.Err() != nil {
			return added, err
		}
		if !retry.Pause(ctx, retry.Work.Wait(try)) {
			return 0, ctx.Err()
		}
	}
}

// beginScaleout waits for nobody's lock for long: River's insert would wait for a job that is there already.
var beginScaleout = pgx.TxOptions{BeginQuery: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '1s'"}

// insert inserts the jobs of n numbers, and returns how many were new. locked: somebody has locked jobs that are there
// already, so that they have to be looked for one by one.
func (cfg ScaleoutConfig) insert(ctx context.Context, client *river.Client[pgx.Tx], first, n int, locked bool) (added int, err error) {
	events := make([]jobs.AutoInstantiateArgs, n)
	for i := range events {
		events[i] = cfg.event(first + i)
	}
	tx, err := cfg.Pool.BeginTx(ctx, beginScaleout)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	left, settled := events, false
	if locked {
		if left, err = withoutJobs(ctx, tx, events); err != nil {
			return 0, err
		}
	}
	for !settled {
		if left, err = unknown(ctx, tx, left); err != nil {
			return 0, err
		}
		if added, settled, err = insertUnlessKnown(ctx, tx, client, left); err != nil {
			return 0, err
		}
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

// insertUnlessKnown inserts jobs, unless one of them ended between the look for what is known and the insert: then it
// inserts none, and returns that it is not settled.
func insertUnlessKnown(ctx context.Context, tx pgx.Tx, client *river.Client[pgx.Tx], events []jobs.AutoInstantiateArgs) (added int, settled bool, err error) {
	if len(events) == 0 {
		return 0, true, nil
	}
	err = pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		inserted, err := insertJobs(ctx, savepoint, client, events)
		if err != nil {
			return err
		}
		added = len(inserted)
		still, err := unknown(ctx, savepoint, inserted)
		if err != nil {
			return err
		}
		if settled = len(still) == len(inserted); !settled {
			return errNotSettled
		}
		return nil
	})
	if errors.Is(err, errNotSettled) {
		err = nil
	}
	return added, settled, err
}

var errNotSettled = errors.New("not settled")

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

// scaleoutSpace is the namespace of the events' ids.
var scaleoutSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("urn:iuworker:scaleout"))

func (cfg ScaleoutConfig) event(number int) jobs.AutoInstantiateArgs {
	suffix := cfg.Prefix + "-" + strconv.Itoa(number)
	id := scaleoutEvent(cfg.Prefix, number)
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
	keys := make([]string, len(events))
	for i, event := range events {
		keys[i] = event.IdempotencyKey
	}
	rows, err := tx.Query(ctx, `
		SELECT k.n::integer - 1
		FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS k (key, n)
		WHERE NOT EXISTS (SELECT FROM iu_outbox.unfinished_jobs(k.key))
		ORDER BY k.n`, keys)
	if err != nil {
		return nil, fmt.Errorf("look for jobs that are there: %w", err)
	}
	left, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (event jobs.AutoInstantiateArgs, err error) {
		var i int
		if err = row.Scan(&i); err == nil {
			event = events[i]
		}
		return event, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for jobs that are there: %w", err)
	}
	return left, nil
}

// unknown returns the events that were not composed, do not wait in the outbox and are no dead letters. Unfinished jobs
// are found by River itself.
func unknown(ctx context.Context, tx pgx.Tx, events []jobs.AutoInstantiateArgs) ([]jobs.AutoInstantiateArgs, error) {
	keys, ids := make([]string, len(events)), make([]string, len(events)) // texts pass in every mode of the protocol
	for i, event := range events {
		keys[i], ids[i] = event.IdempotencyKey, event.EventID.String()
	}
	rows, err := tx.Query(ctx, `
		SELECT k.n::integer - 1
		FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]::uuid[])) WITH ORDINALITY AS k (key, event_id, n)
		WHERE NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = k.key)
		  AND NOT EXISTS (SELECT FROM iu_outbox.dead_letter AS d WHERE d.event_id = k.event_id AND d.idempotency_key = k.key)
		  AND NOT EXISTS (SELECT FROM iu_outbox.event AS e WHERE e.event_id = k.event_id AND e.idempotency_key = k.key)
		ORDER BY k.n`, keys, ids)
	if err != nil {
		return nil, fmt.Errorf("look for known events: %w", err)
	}
	unknown, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (event jobs.AutoInstantiateArgs, err error) {
		var i int
		if err = row.Scan(&i); err == nil {
			event = events[i]
		}
		return event, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for known events: %w", err)
	}
	return unknown, nil
}
