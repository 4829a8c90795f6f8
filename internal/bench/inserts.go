package bench

import (
	"context"
	"fmt"
	"time"
)

const (
	plainTable     = "iu_bench.event"
	plainReference = "the same inserts into a copy of the table with its columns, defaults, checks and indexes, without the trigger, while no worker runs"
)

// workerRate is the --rate of the worker that leaves producers room.
const workerRate = 200

// inserts measures what the outbox costs producers.
func (b *bench) inserts(ctx context.Context) error {
	s := b.main
	if err := s.makePlainTable(ctx); err != nil {
		return err
	}
	for _, clients := range []int{1, 16, 64} {
		if err := b.insertRate(ctx, s, fmt.Sprintf("inserts by %d", clients), "rows/s", s.insertOne, clients, 1, atLeast(0.85, 0.95)); err != nil {
			return err
		}
	}
	const rows = 1000
	many := func(table string) string { return s.insertMany(table, rows) }
	return b.insertRate(ctx, s, "bulk inserts of 1,000", "rows/s", many, 1, rows, atLeast(0.8, 0.8))
}

// makePlainTable makes a copy of the outbox's table without its trigger.
func (s *scratch) makePlainTable(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `
		CREATE SCHEMA IF NOT EXISTS iu_bench;
		DROP TABLE IF EXISTS `+plainTable+`;
		CREATE TABLE `+plainTable+` (LIKE iu_outbox.event INCLUDING ALL);
		DO $$
		BEGIN
			EXECUTE (SELECT 'ALTER TABLE `+plainTable+` SET (' || pg_catalog.array_to_string(c.reloptions, ', ') || ')'
			         FROM pg_catalog.pg_class AS c WHERE c.oid = 'iu_outbox.event'::pg_catalog.regclass);
		END
		$$`)
	if err != nil {
		return fmt.Errorf("make a table without a trigger: %w", err)
	}
	return nil
}

func (s *scratch) insertOne(table string) string {
	return fmt.Sprintf(`INSERT INTO %s (event_type, template_collection_id, instance_key_suffix, actor) VALUES `+
		`('bench.happened', '%s', 'one-' || pg_catalog.gen_random_uuid(), '%s');`, table, s.template, actor)
}

func (s *scratch) insertMany(table string, rows int) string {
	return fmt.Sprintf(`INSERT INTO %s (event_type, template_collection_id, instance_key_suffix, actor) SELECT `+
		`'bench.happened', '%s', 'many-' || pg_catalog.gen_random_uuid(), '%s' FROM pg_catalog.generate_series(1, %d);`,
		table, s.template, actor, rows)
}

// insertRate measures an insert into the outbox against one into the plain table: without a worker, so that nothing notifies
// and producers have all cores; while a worker on this machine moves, composes and announces all that comes; and while a
// worker does so at a rate.
func (b *bench) insertRate(
	ctx context.Context, s *scratch, name, unit string, script func(table string) string, clients, rows int, bar *Bar,
) error {
	var plain, alone, working, rated []float64
	run := func(into *[]float64, table string) error {
		result, err := b.pgbench(ctx, s, load{script: script(table), clients: clients, duration: b.cfg.Sizes.Insert})
		*into = append(*into, result.rate*float64(rows))
		return err
	}
	withWorker := func(into *[]float64, rate int) func(int) error {
		return func(int) error {
			return b.withWorkerAt(ctx, s, rate, func() error { return run(into, "iu_outbox.event") })
		}
	}
	repetitions := min(b.cfg.Sizes.Repetitions, 3) // each is a rate of many rows, and they take long
	err := b.alternate(ctx, repetitions, name, s.emptyOutbox,
		func(int) error { return run(&plain, plainTable) },
		func(int) error { return run(&alone, "iu_outbox.event") },
		withWorker(&working, 0), withWorker(&rated, workerRate))
	if err != nil {
		return err
	}
	b.add(compare(name, unit, alone, plainReference, plain, bar),
		compare(name+", worker at work", unit, working, plainReference, plain, nil),
		compare(fmt.Sprintf("%s, worker at --rate %d", name, workerRate), unit, rated, plainReference, plain, nil))
	return nil
}

// emptyOutbox deletes what was inserted, whichever table it is in by now.
func (s *scratch) emptyOutbox(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := s.pool.Exec(ctx, "TRUNCATE iu_outbox.event, "+plainTable); err != nil {
		return fmt.Errorf("empty the outbox: %w", err)
	}
	return s.emptyQueue(ctx)
}
