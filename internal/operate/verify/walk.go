package verify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	pieceTarget  = 100 * time.Millisecond // what one piece should take
	pieceTimeout = 20 * time.Second       // of the server; a piece that takes longer is tried smaller
	pieceTries   = 8                      // if an error may pass
	pieceAgain   = 200 * time.Millisecond // before a piece in which something is wrong is looked at again
)

// audit is a run of Run.
type audit struct {
	cfg    Config
	report *Report
}

// piece is what a statement found in a part of a table.
type piece struct {
	tally    map[string]int64 // weights, by kind of row
	problems map[string]string
}

// settings make plans that read by indexes, whatever the tables' statistics say.
const pieceSettings = `
	SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', '2s', true),
		pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_hashjoin', 'off', true),
		pg_catalog.set_config('enable_mergejoin', 'off', true), pg_catalog.set_config('jit', 'off', true)`

// A check's statement returns rows (id, tally, n, problem); problem is NULL if all is well.
const pieceSQL = `
	WITH piece (id, tally, n, problem) AS MATERIALIZED (%s)
	SELECT COALESCE(p.tally, ''), COALESCE(pg_catalog.sum(p.n), 0)::bigint,
		pg_catalog.array_agg(p.id) FILTER (WHERE p.problem IS NOT NULL),
		pg_catalog.array_agg(p.problem) FILTER (WHERE p.problem IS NOT NULL)
	FROM piece AS p
	GROUP BY p.tally`

// ask runs a check's statement once.
func (a *audit) ask(ctx context.Context, sql string, args ...any) (piece, error) {
	found := piece{tally: map[string]int64{}, problems: map[string]string{}}
	err := a.read(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, fmt.Sprintf(pieceSQL, sql), args...)
		if err != nil {
			return err
		}
		var tally string
		var n int64
		var ids, problems []string
		_, err = pgx.ForEachRow(rows, []any{&tally, &n, &ids, &problems}, func() error {
			found.tally[tally] += n
			for i, id := range ids {
				found.problems[id] = problems[i]
			}
			return nil
		})
		return err
	})
	return found, err
}

// read runs do in a transaction that can only read, and that the server ends if it lasts.
func (a *audit) read(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, a.cfg.Pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, pieceSettings, fmt.Sprint(pieceTimeout.Milliseconds())); err != nil {
			return fmt.Errorf("set timeouts: %w", err)
		}
		return do(tx)
	})
}

// look runs a check's statement, and again if it found something: only what is wrong both times is wrong.
func (a *audit) look(ctx context.Context, check *Check, sql string, args ...any) (piece, error) {
	found, err := a.ask(ctx, sql, args...)
	if err != nil {
		return found, err
	}
	if len(found.problems) > 0 {
		if !retry.Pause(ctx, pieceAgain) {
			return found, ctx.Err()
		}
		again, err := a.ask(ctx, sql, args...)
		if err != nil {
			return found, err
		}
		for id := range found.problems {
			if _, still := again.problems[id]; !still {
				delete(found.problems, id)
			}
		}
	}
	a.note(check, found.problems)
	return found, nil
}

// note adds what is wrong to a check.
func (a *audit) note(check *Check, problems map[string]string) {
	ids := make([]string, 0, len(problems))
	for id := range problems {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if len(check.Findings) < a.cfg.Findings {
			check.Findings = append(check.Findings, Finding{ID: id, Problem: problems[id]})
		}
		check.Wrong++
	}
}

// span is what a walk goes through, in pieces of at least least and at most most.
type span struct {
	first, last int64
	least, most int64
	bound       func(int64) any // makes an argument, $1 and $2, of a piece's bounds
}

// walk looks at a span in pieces that take about pieceTarget each, and returns the sums of the tallies.
func (a *audit) walk(ctx context.Context, check *Check, s span, sql string) (map[string]int64, error) {
	sums := map[string]int64{}
	size, tries := s.least, 0
	for from := s.first; from < s.last; {
		to := min(from+size, s.last)
		start := time.Now()
		found, err := a.look(ctx, check, sql, s.bound(from), s.bound(to))
		if err != nil {
			tries++
			if !retry.MayPass(err) || tries == pieceTries || ctx.Err() != nil || !retry.Pause(ctx, retry.Work.Wait(tries)) {
				return sums, err
			}
			size = s.least
			continue
		}
		tries, from = 0, to
		for kind, n := range found.tally {
			sums[kind] += n
		}
		if len(found.problems) == 0 {
			size = resized(size, time.Since(start), s.least, s.most)
		}
		if a.cfg.Rest > 0 && !retry.Pause(ctx, a.cfg.Rest) {
			return sums, ctx.Err()
		}
	}
	return sums, nil
}

// resized returns the size of the next piece after one that took so long.
func resized(size int64, took time.Duration, least, most int64) int64 {
	next := int64(float64(size) * float64(pieceTarget) / float64(max(took, time.Millisecond)))
	return max(least, min(most, next, 2*size))
}

// pages walks through a table page by page: $1 and $2 are row addresses, the second not included. Rows that come while
// it walks may be left out.
func (a *audit) pages(ctx context.Context, check *Check, table, sql string) (map[string]int64, error) {
	s := span{least: 16, most: 512, bound: func(page int64) any { return fmt.Sprintf("(%d,0)", page) }}
	err := a.read(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT COALESCE(
				(SELECT pg_catalog.max(pg_catalog.pg_relation_size(p.relid)) FROM pg_catalog.pg_partition_tree(t.oid) AS p WHERE p.isleaf),
				pg_catalog.pg_relation_size(t.oid)) / pg_catalog.current_setting('block_size')::bigint
			FROM (SELECT $1::text::pg_catalog.regclass AS oid) AS t`, table).Scan(&s.last)
	})
	if err != nil {
		return nil, fmt.Errorf("look how large %s is: %w", table, err)
	}
	return a.walk(ctx, check, s, sql)
}

// numbers walks through a range of numbers: $1 is below the piece's first one, $2 its last. bounds is a statement that
// returns the same of the whole.
func (a *audit) numbers(ctx context.Context, check *Check, bounds, sql string) (map[string]int64, error) {
	s := span{least: 10, most: 20_000, bound: func(n int64) any { return n }}
	err := a.read(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, bounds).Scan(&s.first, &s.last) })
	if err != nil {
		return nil, fmt.Errorf("look how far it goes: %w", err)
	}
	return a.walk(ctx, check, s, sql)
}
