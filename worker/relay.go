package worker

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/jobs"
)

// relay turns outbox rows into River jobs. Several processes share the work: each claims rows that no other has locked.
//
// It composes what can be composed at once in the transaction that claims the rows, and inserts the jobs of these rows completed.
// That costs an event half of what it costs if River inserts, fetches and completes its job. Other rows become jobs that River works:
// those that are not due or have another priority than the highest, since priorities are River's; those whose key has an
// unfinished job; those that the function does not compose, which are parked or refused as jobs; and all rows of a transaction
// that failed.
type relay struct {
	tools

	client  *river.Client[pgx.Tx]
	work    *compose.Worker
	lanes   int // transactions that compose at once while the outbox is full
	by      func() compose.Incarnation
	batch   int
	sleeper sleeper
	tracer  trace.Tracer // nil: nothing is traced
	aside   aside

	few      bool      // the last transaction moved at most one row
	notAlone time.Time // until then no row is tried alone, because one has failed

	keeps     bool          // the pool has enough connections to keep one
	kept      *pgxpool.Conn // composes rows that come alone; nil: none
	keptSince time.Time
}

// batchTimeout bounds one transaction of the relay or the emitter, and so how long a stop may wait for it.
const batchTimeout = 10 * time.Second

// moved is what one transaction of the relay did.
type moved struct {
	Rows     int // that left the outbox
	Jobs     int // that were inserted
	Composed int // jobs that were inserted completed
	Merged   int // rows whose idempotency key had an unfinished job, or a lower row in the batch
	Took     time.Duration
	More     bool // as many rows as were asked for
	Left     bool // none was moved, and there are some
}

// claimedRow is a row of iu_outbox.claim.
type claimedRow struct {
	jobs.AutoInstantiateArgs
	Later  bool // available_at is in the future, by the server's clock
	Merged int  // rows of the same key that left the outbox with this one
	HasJob bool // the key has an unfinished job, which stands for the row
}

// run moves rows until ctx ends. It finishes a batch that has begun.
func (r *relay) run(ctx context.Context) error {
	defer r.giveBack()
	for ctx.Err() == nil {
		r.sleeper.work(ctx, r.handle)
	}
	return nil
}

// handle moves one batch.
func (r *relay) handle(ctx context.Context) found {
	uncut := context.WithoutCancel(ctx)
	r.mendAside(uncut)
	if f, done := r.moveAlone(uncut); done {
		return f
	}
	batch, err := r.move(uncut)
	r.few = err == nil && batch.Rows <= 1
	if err != nil {
		if r.isolate(uncut, err) {
			return found{more: true} // without the rows at fault, or fewer at a time
		}
		r.outage.Failed(ctx, err)
		return found{left: true}
	}
	if r.aside.unproven == 0 {
		r.outage.Worked(ctx)
	}
	r.report(ctx, batch)
	if batch.More && batch.Composed > 0 {
		r.composeBacklog(ctx)
	}
	return found{rows: batch.Rows, more: batch.More, left: batch.Left}
}

// pauseAlone is how long no row is tried alone after one has failed, because a row that fails alone is tried twice.
const pauseAlone = time.Second

// moveAlone moves a row that is alone in the outbox in one round trip, which reduces the latency of an event on an idle system. It
// reports done if it moved the row, or if the outbox is empty. A worker that traces does not use it, because it has to see a row before
// the row is composed.
func (r *relay) moveAlone(ctx context.Context) (f found, done bool) {
	if !r.few || r.tracer != nil || len(r.aside.rows) > 0 || r.aside.limit > 0 || time.Now().Before(r.notAlone) || !r.work.ComposesAtOnce() {
		r.giveBack()
		return found{}, false
	}
	start := time.Now()
	composed, err := r.composeAlone(ctx)
	if err != nil {
		r.notAlone = time.Now().Add(pauseAlone)
		r.logger.DebugContext(ctx, "Relay: could not compose a row alone; it goes the usual way", slog.String("error", err.Error()))
	}
	if composed == nil {
		r.giveBack() // a batch takes one of its own, and the pool may have no other
		return found{}, false
	}
	r.outage.Worked(ctx)
	f.rows = composed.Events()
	r.work.Report(composed)
	r.report(ctx, moved{Rows: f.rows, Jobs: f.rows, Composed: f.rows, Took: time.Since(start)})
	return f, true
}

// keepFor is how long the relay keeps a connection until the pool may replace it.
const keepFor = time.Minute

// composeAlone calls ComposeAlone on the connection that the relay keeps. On a new session the first event takes ten times as long,
// because the server has cached neither catalogs nor plans. With any connection of the pool, that would happen once for each of them.
func (r *relay) composeAlone(ctx context.Context) (*compose.Claimed, error) {
	if r.kept == nil {
		acquiring, cancel := context.WithTimeout(ctx, batchTimeout)
		defer cancel()
		conn, err := r.pool.Acquire(acquiring)
		if err != nil {
			return nil, fmt.Errorf("acquire a connection: %w", err)
		}
		r.kept, r.keptSince = conn, time.Now()
	}
	if !r.keeps || time.Since(r.keptSince) >= keepFor {
		// Not right before the next call: the pool takes a connection back in the background, and would lend another one meanwhile.
		defer r.giveBack()
	}
	return r.work.ComposeAlone(ctx, r.kept.Conn(), r.by())
}

// giveBack returns the connection that the relay keeps to the pool.
func (r *relay) giveBack() {
	if r.kept != nil {
		r.kept.Release()
		r.kept = nil
	}
}

// backlogTime is how long lanes compose until handle looks again at the rows that were set aside.
const backlogTime = 5 * time.Second

// composeBacklog moves rows in several transactions at once, until one of them finds fewer than it may claim, has to leave the composing to
// jobs, or fails; until backlogTime is over; or until ctx ends. All lanes end together: otherwise the one that is left would go on alone
// as long as the backlog lasts. Errors are left to handle, which meets them as well.
func (r *relay) composeBacklog(ctx context.Context) {
	without := r.aside.ids()
	ctx, end := context.WithTimeout(ctx, backlogTime)
	defer end()
	var lanes sync.WaitGroup
	for range r.lanes {
		lanes.Go(func() {
			defer end()
			for ctx.Err() == nil {
				batch, err := r.handOff(context.WithoutCancel(ctx), handOff{most: r.batch, without: without, compose: true})
				if err != nil {
					r.logger.DebugContext(ctx, "Relay: a lane failed; all begin again", slog.String("error", err.Error()))
					return
				}
				r.report(ctx, batch)
				if !batch.More || batch.Composed == 0 {
					return
				}
			}
		})
	}
	lanes.Wait()
}

// report counts and logs what was moved.
func (r *relay) report(ctx context.Context, batch moved) {
	if batch.Rows == 0 {
		return
	}
	r.metrics.Relayed(batch.Rows, batch.Jobs, batch.Merged, batch.Took)
	r.logger.InfoContext(ctx, "Relay: moved rows to jobs", slog.Int("rows", batch.Rows), slog.Int("jobs", batch.Jobs),
		slog.Int("composed", batch.Composed), slog.Int("merged", batch.Merged), slog.Duration("took", batch.Took))
}

// maxClashes is how many times in a row a hand-off is tried that clashes with the work of other processes.
const maxClashes = 5

// clashed reports whether err is a deadlock or a serialization failure. River's insert updates the unfinished job that a row
// merges into, and its completer updates many jobs in an order of its own.
func clashed(err error) bool {
	return isCode(err, pgerrcode.DeadlockDetected, pgerrcode.SerializationFailure)
}

// beginRelay begins the hand-off and sets its timeouts, in one round trip: they do not depend on what a role or a database has
// set. The hand-off never waits long for locks, and others never wait long for a transaction that was left open.
var beginRelay = pgx.TxOptions{BeginQuery: fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
	SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = 100; SET LOCAL idle_in_transaction_session_timeout = %d`,
	batchTimeout.Milliseconds(), batchTimeout.Milliseconds())}

// move moves a batch without the rows that were set aside. If it cannot compose them, they become jobs.
func (r *relay) move(ctx context.Context) (batch moved, err error) {
	most := r.aside.most(r.batch)
	r.aside.tried(most, nil)
	order := handOff{most: most, without: r.aside.ids(), compose: r.aside.limit == 0, claimed: func(ids []int64) { r.aside.tried(most, ids) }}
	var notComposed error
	for range maxClashes {
		batch, err = r.handOff(ctx, order)
		if err == nil {
			if notComposed != nil {
				r.logger.InfoContext(ctx, "Relay: could not compose rows at once; they become jobs", slog.String("error", notComposed.Error()))
			}
			r.aside.progress(batch.Rows)
			return batch, nil
		}
		switch {
		case order.compose:
			order.compose, notComposed = false, err
		case !clashed(err):
			return moved{}, err
		}
	}
	return moved{}, err
}

// handOff is what one transaction of the relay is to do.
type handOff struct {
	most    int           // rows
	without []int64       // rows that stay
	only    []int64       // unless nil: no other rows than these
	compose bool          // what can be composed at once
	claimed func([]int64) // unless nil: is told which rows were claimed
}

// handOff claims rows, which deletes them, and inserts their jobs, in one transaction.
func (r *relay) handOff(ctx context.Context, order handOff) (moved, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	start := time.Now()
	var batch moved
	var composed *compose.Claimed
	var spans []trace.Span
	err := pgx.BeginTxFunc(ctx, r.pool, beginRelay, func(tx pgx.Tx) error {
		by := r.by()
		rows, err := claim(ctx, tx, order.most, order.without, order.only, by)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			batch.Left, err = anyLeft(ctx, tx)
			return err
		}
		ids := make([]int64, len(rows))
		for i, row := range rows {
			batch.Merged += row.Merged
			ids[i] = row.ID
		}
		if order.claimed != nil {
			order.claimed(ids)
		}
		batch.Rows = len(rows) + batch.Merged
		batch.More = batch.Rows >= order.most
		spans = r.traceRows(ctx, rows)
		rest := rows
		if order.compose {
			if composed, rest, err = r.compose(ctx, tx, by, rows); err != nil {
				return err
			}
		}
		batch.Composed = len(rows) - len(rest)
		inserted, err := r.insert(ctx, tx, rest, batch.Composed > 0)
		batch.Jobs = batch.Composed + inserted
		batch.Merged += len(rest) - inserted
		return err
	})
	if err != nil {
		return moved{}, fmt.Errorf("move outbox rows to jobs: %w", err)
	}
	for _, span := range spans {
		span.End()
	}
	if composed != nil {
		r.work.Report(composed)
	}
	batch.Took = time.Since(start)
	return batch, nil
}

// compose composes the rows that can be composed at once, and returns what became of them, and the other rows.
func (r *relay) compose(ctx context.Context, tx pgx.Tx, by compose.Incarnation, rows []claimedRow) (*compose.Claimed, []claimedRow, error) {
	var events []jobs.AutoInstantiateArgs
	var rest, ready []claimedRow
	for _, row := range rows {
		if row.Later || row.HasJob || row.Priority != 1 {
			rest = append(rest, row)
			continue
		}
		ready, events = append(ready, row), append(events, row.AutoInstantiateArgs)
	}
	if len(ready) == 0 {
		return nil, rest, nil
	}
	claimed, err := r.work.ComposeClaimed(ctx, tx, by, events)
	if err != nil {
		return nil, nil, err
	}
	for i, outcome := range claimed.Outcomes {
		if outcome == nil {
			rest = append(rest, ready[i])
		}
	}
	return claimed, rest, nil
}

// claimSQL claims nothing for a process that was taken for dead. Unlike composing, it takes no lock to find out: if the machine
// dies while this transaction is open, its jobs must be able to run elsewhere.
var claimSQL = `
	SELECT ` + strings.Join(claimColumns(), ", ") + ` FROM iu_outbox.claim(CASE WHEN EXISTS (
		SELECT FROM iu_outbox.worker AS w WHERE w.id = $4 AND w.lock_key = $5) THEN $1::integer ELSE 0 END, $2, $3)`

// claimColumns returns the columns of a claimedRow: the outbox of a newer schema may have more.
func claimColumns() []string {
	names := []string{"later", "merged", "has_job"}
	for field := range reflect.TypeFor[jobs.AutoInstantiateArgs]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func claim(ctx context.Context, tx pgx.Tx, limit int, without, only []int64, by compose.Incarnation) ([]claimedRow, error) {
	rows, _ := tx.Query(ctx, claimSQL, limit, without, only, by.Worker, by.Number) // CollectRows returns its error
	claimed, err := pgx.CollectRows(rows, pgx.RowToStructByName[claimedRow])
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	return claimed, nil
}

// anyLeft reports whether the outbox has rows: they are locked, set aside, or wait for a running job of their key.
func anyLeft(ctx context.Context, tx pgx.Tx) (left bool, err error) {
	err = tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1)").Scan(&left)
	if err != nil {
		return false, fmt.Errorf("look for rows that are left: %w", err)
	}
	return left, nil
}

// insert returns how many jobs were new. If a key has an unfinished job, that job stands for the row. composed: the transaction has
// composed other rows.
func (r *relay) insert(ctx context.Context, tx pgx.Tx, rows []claimedRow, composed bool) (int, error) {
	if len(rows) == 0 {
		return 0, nil
	}
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
	if _, err := tx.Exec(ctx, "SELECT iu_outbox.hand_over($1)", composed); err != nil {
		return 0, fmt.Errorf("end the hand-off: %w", err)
	}
	var inserted int
	for _, result := range results {
		if !result.UniqueSkippedAsDuplicate {
			inserted++
		}
	}
	return inserted, nil
}

// traceRows begins a span for each row that becomes a job, and makes the job follow from it. The caller ends the spans once the jobs
// are committed, and drops them if they are not: the rows will be moved again.
func (r *relay) traceRows(ctx context.Context, rows []claimedRow) []trace.Span {
	if r.tracer == nil {
		return nil
	}
	spans := make([]trace.Span, 0, len(rows))
	for i := range rows {
		args := rows[i].AutoInstantiateArgs
		ctx, span := r.tracer.Start(compose.Traced(ctx, args), "relay",
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(compose.Attributes(args)...),
			trace.WithAttributes(attribute.Int("iuworker.batch.rows", len(rows))))
		if span.IsRecording() { // otherwise the job keeps the application's trace
			rows[i].AutoInstantiateArgs = args.WithTrace(ctx)
			spans = append(spans, span)
		}
	}
	return spans
}
