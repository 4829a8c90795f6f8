package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	pieceTarget  = 100 * time.Millisecond // what one piece should take
	pieceTimeout = 20 * time.Second       // of the server; a piece that takes longer is tried smaller
	pieceTries   = 8                      // if an error may pass
	pieceAgain   = 200 * time.Millisecond // before a piece in which something is wrong is read again
)

// scan is a statement for a part of the data, and how to go through all of it. At most one of table and bounds is set; without
// them the statement is run once.
type scan struct {
	// table is read page by page: $1 and $2 are row addresses, the second not included. Rows that are inserted during
	// the scan may be left out.
	table string

	// bounds returns two numbers: $1 is below the piece's first number, $2 its last one.
	bounds string

	sql string
}

// walk goes through the scans of a check.
type walk struct {
	cfg   Config
	check *Check
	sums  map[string]int64 // of n, by tally
}

// scan goes through a scan in pieces that take about pieceTarget each.
func (w *walk) scan(ctx context.Context, s scan) error {
	var first, last int64
	least, most := int64(10), int64(20_000)
	bound := func(n int64) any { return n }
	var err error
	switch {
	case s.table != "":
		least, most = 16, 512
		bound = func(page int64) any { return fmt.Sprintf("(%d,0)", page) }
		err = w.row(ctx, []any{&last}, `
			SELECT COALESCE(
				(SELECT pg_catalog.max(pg_catalog.pg_relation_size(p.relid)) FROM pg_catalog.pg_partition_tree(t.oid) AS p WHERE p.isleaf),
				pg_catalog.pg_relation_size(t.oid)) / pg_catalog.current_setting('block_size')::bigint
			FROM (SELECT $1::text::pg_catalog.regclass AS oid) AS t`, s.table)
	case s.bounds != "":
		err = w.row(ctx, []any{&first, &last}, s.bounds)
	default:
		return w.once(ctx, s.sql)
	}
	if err != nil {
		return fmt.Errorf("read where the table ends: %w", err)
	}
	size, tries := least, 0
	for from := first; from < last; {
		to := min(from+size, last)
		start := time.Now()
		wrong := w.check.Wrong
		err := w.once(ctx, s.sql, bound(from), bound(to))
		if err != nil {
			tries++
			if !retry.MayPass(err) || tries == pieceTries || ctx.Err() != nil || !retry.Pause(ctx, retry.Work.Wait(tries)) {
				return err
			}
			size = least
			continue
		}
		tries, from = 0, to
		took := time.Since(start)
		if wrong == w.check.Wrong {
			size = resized(size, took, least, most)
		}
		if w.cfg.Rest > 0 && !retry.Pause(ctx, time.Duration(w.cfg.Rest)*took) {
			return ctx.Err()
		}
	}
	return nil
}

// resized returns the size of the next piece after one of a size and duration.
func resized(size int64, took time.Duration, least, most int64) int64 {
	next := int64(float64(size) * float64(pieceTarget) / float64(max(took, time.Millisecond)))
	return max(least, min(most, next, 2*size))
}

// once runs a statement, and again if it found something: only what is wrong both times counts.
func (w *walk) once(ctx context.Context, sql string, args ...any) error {
	sums, problems, err := w.read(ctx, sql, args...)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		if !retry.Pause(ctx, pieceAgain) {
			return ctx.Err()
		}
		_, again, err := w.read(ctx, sql, args...)
		if err != nil {
			return err
		}
		maps.DeleteFunc(problems, func(id, _ string) bool { return again[id] == "" })
	}
	for tally, n := range sums {
		w.sums[tally] += n
	}
	for _, id := range slices.Sorted(maps.Keys(problems)) {
		w.check.add(id, problems[id])
	}
	return nil
}

// read runs a statement once. It returns the sums of n by tally, and the problems by id.
func (w *walk) read(ctx context.Context, sql string, args ...any) (sums map[string]int64, problems map[string]string, err error) {
	sums, problems = map[string]int64{}, map[string]string{}
	err = w.transaction(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH piece (id, tally, n, problem) AS MATERIALIZED (`+sql+`)
			SELECT COALESCE(p.tally, ''), COALESCE(pg_catalog.sum(p.n), 0)::bigint,
				COALESCE(pg_catalog.jsonb_object_agg(p.id, p.problem) FILTER (WHERE p.problem IS NOT NULL), '{}')
			FROM piece AS p
			GROUP BY p.tally`, args...)
		if err != nil {
			return err
		}
		var tally string
		var n int64
		var found map[string]string
		_, err = pgx.ForEachRow(rows, []any{&tally, &n, &found}, func() error {
			sums[tally] += n
			maps.Copy(problems, found)
			return nil
		})
		return err
	})
	return sums, problems, err
}

func (w *walk) row(ctx context.Context, into []any, sql string, args ...any) error {
	return w.transaction(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, sql, args...).Scan(into...) })
}

// transaction runs do in a read-only transaction whose statements the server cancels after pieceTimeout. Its plans use indexes,
// whatever the tables' statistics say.
func (w *walk) transaction(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, w.cfg.Pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', '2s', true),
				pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_hashjoin', 'off', true),
				pg_catalog.set_config('enable_mergejoin', 'off', true), pg_catalog.set_config('jit', 'off', true)`,
			fmt.Sprint(pieceTimeout.Milliseconds()))
		if err != nil {
			return fmt.Errorf("set timeouts: %w", err)
		}
		return do(tx)
	})
}
