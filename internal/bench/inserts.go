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

// atWork is how many times as long a measurement beside a working worker takes.
const atWork = 3

// inserts measures what the outbox costs those who insert.
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

// makePlainTable makes the outbox's table again, without its trigger.
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

// insertRate measures an insert into the outbox in two ways beside one into the plain table: while nobody sleeps, so
// that no bell is rung and no worker takes the producers' cores; and while a worker on this machine moves, composes and
// announces all that comes.
func (b *bench) insertRate(
	ctx context.Context, s *scratch, name, unit string, script func(table string) string, clients, rows int, bar *Bar,
) error {
	var awake, working, plain []float64
	run := func(into *[]float64, table string, duration time.Duration) error {
		result, err := b.pgbench(ctx, s, load{script: script(table), clients: clients, duration: duration})
		*into = append(*into, result.rate*float64(rows))
		return err
	}
	repetitions := min(b.cfg.Sizes.Repetitions, 3) // each is a rate of many rows, and they take long
	for i := range repetitions {
		b.step("%s, %d of %d", name, i+1, repetitions)
		for _, measure := range turns(i,
			func() error { return run(&plain, plainTable, b.cfg.Sizes.Insert) },
			func() error { return run(&awake, "iu_outbox.event", b.cfg.Sizes.Insert) },
			func() error {
				return b.withWorker(ctx, s, func() error { return run(&working, "iu_outbox.event", atWork*b.cfg.Sizes.Insert) })
			}) {
			if err := measure(); err != nil {
				return err
			}
			if err := s.emptyOutbox(ctx); err != nil {
				return err
			}
		}
	}
	cost := compare(name, unit, awake, plainReference, plain, bar)
	shared := compare(name+", worker at work", unit, working, plainReference, plain, bar)
	shared.Note = fmt.Sprintf("over %s, in the first of which the worker finds out that it is in their way", atWork*b.cfg.Sizes.Insert)
	b.add(cost, shared)
	return nil
}

// emptyOutbox takes away what was inserted, in whichever table it is by now.
func (s *scratch) emptyOutbox(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := s.pool.Exec(ctx, "TRUNCATE iu_outbox.event, "+plainTable); err != nil {
		return fmt.Errorf("empty the outbox: %w", err)
	}
	return s.emptyQueue(ctx)
}
