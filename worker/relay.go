package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/jobs"
)

// Relay turns outbox rows into River jobs. Several share the work: each claims rows that no other has locked.
// Safe to run once a process.
type Relay struct {
	tools

	client  *river.Client[pgx.Tx]
	by      func() compose.Incarnation
	batch   int
	sleeper sleeper
	tracer  trace.Tracer // nil: nothing is traced
	aside   aside
}

// batchTimeout bounds one transaction of the relay or the emitter, and with it how long a stop may wait for one.
const batchTimeout = 10 * time.Second

// moved tells what one transaction of the relay moved.
type moved struct {
	Rows   int // rows that left the outbox
	Jobs   int // jobs inserted
	Merged int // rows whose idempotency key had an unfinished job, or a lower row in the batch
	Took   time.Duration
	More   bool // as many as were asked for
}

// claimedRow is a row of iu_outbox.claim.
type claimedRow struct {
	jobs.AutoInstantiateArgs
	Later  bool // available_at is still to come, by the server's clock
	Merged int  // rows of the same key that left with this one
}

// Run moves rows until ctx ends; a batch that began is finished.
func (r *Relay) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		r.sleeper.work(ctx, r.look)
	}
	return nil
}

// look moves one batch.
func (r *Relay) look(ctx context.Context) found {
	uncut := context.WithoutCancel(ctx)
	r.mendAside(uncut)
	var batch moved
	var err error
	for range maxClashes {
		if batch, err = r.move(uncut); !clashed(err) {
			break
		}
	}
	if err != nil {
		if r.isolate(uncut, err) {
			return found{more: true} // without the rows at fault, or fewer at a time
		}
		r.outage.Failed(ctx, err)
		return found{}
	}
	if r.aside.unproven == 0 {
		r.outage.Worked(ctx)
	}
	if batch.Rows == 0 {
		return found{}
	}
	r.moved(ctx, batch)
	return found{rows: batch.Rows, more: batch.More}
}

// moved tells of rows that were moved.
func (r *Relay) moved(ctx context.Context, batch moved) {
	if batch.Rows == 0 {
		return
	}
	r.metrics.Relayed(batch.Rows, batch.Jobs, batch.Merged, batch.Took)
	r.logger.InfoContext(ctx, "Relay: moved rows to jobs", slog.Int("rows", batch.Rows), slog.Int("jobs", batch.Jobs),
		slog.Int("merged", batch.Merged), slog.Duration("took", batch.Took))
}

// maxClashes is how often in a row a hand-off is tried that clashes with others' work.
const maxClashes = 5

// clashed reports a deadlock or a serialization failure. River's insert updates the unfinished job that a row merges
// into, and its completer updates many of them in an order of its own.
func clashed(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == pgerrcode.DeadlockDetected || pgErr.Code == pgerrcode.SerializationFailure)
}

// beginRelay begins the hand-off with timeouts of its own, in the same round trip: what a role or a database has set does
// not matter to it, and it waits for nobody's locks for long, nor do others for one that was left open.
var beginRelay = pgx.TxOptions{BeginQuery: fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
	SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = 100; SET LOCAL idle_in_transaction_session_timeout = %d`,
	batchTimeout.Milliseconds(), batchTimeout.Milliseconds())}

// move moves a batch without the rows that were set aside.
func (r *Relay) move(ctx context.Context) (moved, error) {
	most := r.aside.most(r.batch)
	r.aside.tried(most, nil)
	batch, err := r.handOff(ctx, most, r.aside.ids(), nil)
	if err == nil {
		r.aside.progress(batch.Rows)
	}
	return batch, err
}

// handOff claims rows, which deletes them, and inserts their jobs, in one transaction: without some rows, or only some.
func (r *Relay) handOff(ctx context.Context, most int, without, only []int64) (moved, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	start := time.Now()
	var batch moved
	var spans []trace.Span
	err := pgx.BeginTxFunc(ctx, r.pool, beginRelay, func(tx pgx.Tx) error {
		rows, err := claim(ctx, tx, most, without, only, r.by())
		if err != nil || len(rows) == 0 {
			return err
		}
		ids := make([]int64, len(rows))
		for i, row := range rows {
			batch.Merged += row.Merged
			ids[i] = row.ID
		}
		r.aside.tried(most, ids)
		batch.Rows = len(rows) + batch.Merged
		batch.More = batch.Rows >= most
		spans = r.traceRows(ctx, rows)
		batch.Jobs, err = r.insert(ctx, tx, rows)
		batch.Merged += len(rows) - batch.Jobs
		return err
	})
	if err != nil {
		return moved{}, fmt.Errorf("move outbox rows to jobs: %w", err)
	}
	for _, span := range spans {
		span.End()
	}
	batch.Took = time.Since(start)
	return batch, nil
}

// claimSQL claims nothing for a process that was taken for dead. It locks nothing for that, as composing does: a machine
// that dies with this transaction open must not keep its jobs from going on elsewhere.
var claimSQL = `
	SELECT ` + strings.Join(claimColumns(), ", ") + ` FROM iu_outbox.claim(CASE WHEN EXISTS (
		SELECT FROM iu_outbox.worker AS w WHERE w.id = $4 AND w.lock_key = $5) THEN $1::integer ELSE 0 END, $2, $3)`

// claimColumns names the columns of a claimedRow: the outbox of a newer schema may have more.
func claimColumns() []string {
	names := []string{"later", "merged"}
	for field := range reflect.TypeFor[jobs.AutoInstantiateArgs]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func claim(ctx context.Context, tx pgx.Tx, limit int, without, only []int64, by compose.Incarnation) ([]claimedRow, error) {
	rows, err := tx.Query(ctx, claimSQL, limit, without, only, by.Worker, by.Number)
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	claimed, err := pgx.CollectRows(rows, pgx.RowToStructByName[claimedRow])
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	return claimed, nil
}

// insert answers how many jobs were new. A key whose job is unfinished is no error: that job stands for the row.
func (r *Relay) insert(ctx context.Context, tx pgx.Tx, rows []claimedRow) (int, error) {
	params := make([]river.InsertManyParams, len(rows))
	for i, row := range rows {
		opts := &river.InsertOpts{Priority: int(row.Priority), Queue: jobs.QueueEvents}
		if row.Later {
			// River makes a job with a time, even a past one, wait for its scheduler's next round.
			opts.ScheduledAt = row.AvailableAt
		}
		params[i] = river.InsertManyParams{Args: row.AutoInstantiateArgs, InsertOpts: opts}
	}
	results, err := r.client.InsertManyTx(ctx, tx, params)
	if err != nil {
		return 0, fmt.Errorf("insert jobs: %w", err)
	}
	var inserted int
	for _, result := range results {
		if !result.UniqueSkippedAsDuplicate {
			inserted++
		}
	}
	return inserted, nil
}
