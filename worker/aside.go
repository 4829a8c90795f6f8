package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// aside is what the relay knows of rows that cannot be moved now. A batch that fails is tried with half as many rows until the
// row at fault is alone. The relay then passes that row by, so that it fails no other batch:
//
//	what it holds can never be moved (class 22 and the like)  it becomes a dead letter at once
//	another transaction has locked its job                    it is tried again within seconds
//	anything else, while others are moved                     it is tried again alone, ten times; then a dead letter
//	anything else, and no row can be moved                    no row is at fault, and all stay
type aside struct {
	limit    int // rows per batch after a failure, doubled by each success; 0: as usual
	size     int // of the last batch
	failed   []int64
	rows     map[int64]asideRow
	unproven int64 // the row that was set aside last, until another one is moved; 0: none
}

type asideRow struct {
	tries  int
	until  time.Time
	locked bool // its job is, by somebody else
}

const (
	asideTries  = jobs.MaxAttempts
	asideLocked = time.Second
)

// most returns how many rows to ask for.
func (a *aside) most(usual int) int {
	if a.limit > 0 && a.limit < usual {
		return a.limit
	}
	a.limit = 0
	return usual
}

// ids returns the rows to pass by; never nil.
func (a *aside) ids() []int64 {
	return slices.AppendSeq(make([]int64, 0, len(a.rows)), maps.Keys(a.rows))
}

func (a *aside) tried(size int, ids []int64) {
	a.size, a.failed = size, ids
	if len(ids) > 0 {
		a.size = len(ids)
	}
}

// progress notes that rows were moved: what was set aside before is at fault itself.
func (a *aside) progress(rows int) {
	if rows > 0 {
		a.unproven = 0
		a.limit *= 2
	}
}

// isolate finds the rows at fault of a batch that failed, and reports whether it is worth another try at once.
func (r *relay) isolate(ctx context.Context, cause error) bool {
	a := &r.aside
	if _, fault := compose.FaultOf(cause); fault || !rowsFault(cause) {
		return false
	}
	if isCode(cause, pgerrcode.LockNotAvailable) && len(a.failed) > 0 {
		locked, err := r.locked(ctx, a.failed)
		if err != nil {
			return false // the table is locked, not some of its rows
		}
		a.setLocked(locked)
		if len(locked) > 0 {
			r.logger.InfoContext(ctx, "Relay: passing by rows whose jobs another transaction has locked", slog.Int("rows", len(locked)))
			return true
		}
	}
	if a.size > 1 {
		a.limit = a.size / 2
		return true
	}
	id, err := r.nextRow(ctx)
	if err != nil || id == 0 {
		return false
	}
	return r.setAside(ctx, id, cause)
}

// setAside passes a row by, or makes a dead letter of it, and reports whether others are worth a try.
func (r *relay) setAside(ctx context.Context, id int64, cause error) bool {
	a := &r.aside
	row := a.rows[id]
	row.tries++
	switch {
	case isCode(cause, pgerrcode.LockNotAvailable):
		row.tries--
		row.until = time.Now().Add(asideLocked)
	case neverMoves(cause), row.tries >= asideTries && a.unproven != id:
		return r.bury(ctx, id, cause)
	case a.unproven != 0 && a.unproven != id: // neither row can be moved: it is not their fault
		delete(a.rows, a.unproven)
		a.unproven = 0
		return false
	default:
		if row.tries == 1 {
			a.unproven = id
			r.logger.WarnContext(ctx, "Relay: passing by a row that cannot be moved; it is tried again alone",
				slog.Int64("row", id), slog.String("error", cause.Error()))
		}
		row.until = time.Now().Add(retry.Work.Wait(row.tries + 3))
	}
	a.set(id, row)
	return true
}

func (a *aside) set(id int64, row asideRow) {
	if a.rows == nil {
		a.rows = make(map[int64]asideRow)
	}
	a.rows[id] = row
}

// setLocked passes by rows whose jobs another transaction has locked.
func (a *aside) setLocked(ids []int64) {
	for _, id := range ids {
		a.set(id, asideRow{until: time.Now().Add(asideLocked), locked: true})
	}
}

// bury makes a dead letter of a row.
func (r *relay) bury(ctx context.Context, id int64, cause error) bool {
	var done bool
	err := pgx.BeginTxFunc(ctx, r.pool, beginRelay, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "SELECT iu_outbox.set_row_aside($1, $2)", id, "the row cannot be moved to a job: "+cause.Error()).Scan(&done)
	})
	if err != nil {
		r.outage.Failed(ctx, fmt.Errorf("make a dead letter of outbox row %d, which cannot be moved: %w", id, err))
		r.aside.set(id, asideRow{tries: asideTries, until: time.Now().Add(retry.Work.Wait(asideTries))})
		return true
	}
	delete(r.aside.rows, id)
	if done {
		r.logger.WarnContext(ctx, "Relay: a row that cannot be moved is a dead letter now",
			slog.Int64("row", id), slog.String("error", cause.Error()))
	}
	return true
}

// mendAside tries the rows again that were set aside and whose time has come, each alone.
func (r *relay) mendAside(ctx context.Context) {
	a := &r.aside
	var locked []int64
	var next int64
	for id, row := range a.rows {
		switch {
		case time.Now().Before(row.until):
		case row.locked:
			locked = append(locked, id)
		default:
			next = id
		}
	}
	if len(locked) > 0 {
		still, err := r.locked(ctx, locked)
		if err != nil {
			return
		}
		for _, id := range locked {
			delete(a.rows, id)
		}
		a.setLocked(still)
	}
	if next == 0 {
		return
	}
	batch, err := r.handOff(ctx, handOff{most: 1, without: []int64{}, only: []int64{next}})
	if err == nil {
		if a.unproven == next {
			a.unproven = 0
		}
		delete(a.rows, next) // it was moved, or deleted by someone else
		r.report(ctx, batch)
	} else if rowsFault(err) {
		r.setAside(ctx, next, err)
	}
}

// locked returns which of these rows stand for an unfinished job whose row another transaction has locked.
func (r *relay) locked(ctx context.Context, ids []int64) (locked []int64, err error) {
	err = pgx.BeginTxFunc(ctx, r.pool, beginRelay, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `
			WITH unfinished AS MATERIALIZED (
				SELECT e.id, j.job FROM iu_outbox.event AS e
				CROSS JOIN LATERAL iu_outbox.unfinished_jobs(e.idempotency_key) AS j (job)
				WHERE e.id = ANY ($1)
			)
			SELECT DISTINCT u.id FROM unfinished AS u
			WHERE u.job <> ALL ((SELECT iu_outbox.lock_jobs(ARRAY(SELECT l.job FROM unfinished AS l)))::bigint[])`, ids) // CollectRows returns its error
		locked, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	return locked, err
}

// nextRow returns the row that would be claimed first; 0: none. It reads nothing of it but its number.
func (r *relay) nextRow(ctx context.Context) (id int64, err error) {
	tx, err := r.pool.BeginTx(ctx, beginRelay)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing is claimed
	err = tx.QueryRow(ctx, "SELECT COALESCE((SELECT c.id FROM iu_outbox.claim(1, $1) AS c), 0)", r.aside.ids()).Scan(&id)
	return id, err
}

// rowsFault reports whether one row may have caused an error, which may be this program's: it cannot read or write the row.
func rowsFault(err error) bool {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return compose.Divides(err)
	}
	return !retry.MayPass(err) && !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// neverMoves reports whether data that cannot be read or written caused an error.
func neverMoves(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return !retry.MayPass(err)
	}
	return pgErr.Code[:2] == "22" || pgErr.Code[:2] == "54"
}

// isCode reports whether err is an error of the server with one of these codes.
func isCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}
