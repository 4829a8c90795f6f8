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

// workerRate is the --rate of a worker that leaves producers room.
const workerRate = 200

// inserts measures what the outbox costs producers.
func (b *bench) inserts(ctx context.Context) error {
	s := b.main
	if err := s.makePlainTable(ctx); err != nil {
		return err
	}
	for _, clients := range []int{1, 16, 64} {
		if err := b.insertRate(ctx, s, fmt.Sprintf("inserts by %d", clients), s.insertOne, clients, 1); err != nil {
			return err
		}
	}
	const rows = 1000 // per statement
	many := func(table string) string { return s.insertMany(table, rows) }
	return b.insertRate(ctx, s, "bulk inserts", many, 1, rows)
}

// makePlainTable makes a copy of the outbox's table without its trigger.
func (s *scratch) makePlainTable(ctx context.Context) error {
	return s.exec(ctx, "make a table without a trigger", `
		CREATE SCHEMA IF NOT EXISTS iu_bench;
		DROP TABLE IF EXISTS `+plainTable+`;
		CREATE TABLE `+plainTable+` (LIKE iu_outbox.event INCLUDING ALL);
		DO $$
		BEGIN
			EXECUTE (SELECT 'ALTER TABLE `+plainTable+` SET (' || pg_catalog.array_to_string(c.reloptions, ', ') || ')'
			         FROM pg_catalog.pg_class AS c WHERE c.oid = 'iu_outbox.event'::pg_catalog.regclass);
		END
		$$`)
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

// insertRate measures inserts into the outbox against inserts into the plain table: without a worker, when nothing notifies and
// producers have all cores; with a worker on this machine; and with one limited to workerRate.
func (b *bench) insertRate(
	ctx context.Context, s *scratch, name string, script func(table string) string, clients, rows int,
) error {
	const unit = "rows/s"
	var plain, alone, working, rated []float64
	run := func(into *[]float64, table string) error {
		result, err := b.pgbenchFor(ctx, s, script(table), clients, b.cfg.Sizes.Insert)
		*into = append(*into, result.rate*float64(rows))
		return err
	}
	withWorker := func(into *[]float64, rate int) func(int) error {
		return func(int) error {
			cfg := b.cfg.Worker
			cfg.Rate = rate
			return b.withWorkerAs(ctx, s, cfg, func() error { return run(into, "iu_outbox.event") })
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
	b.add(compare(name, unit, alone, plainReference, plain),
		compare(name+", worker at work", unit, working, plainReference, plain),
		compare(fmt.Sprintf("%s, --rate %d", name, workerRate), unit, rated, plainReference, plain))
	return nil
}

// emptyOutbox deletes what was inserted, from all tables that it may have reached.
func (s *scratch) emptyOutbox(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.exec(ctx, "empty the outbox", "TRUNCATE iu_outbox.event, "+plainTable); err != nil {
		return err
	}
	return s.emptyQueue(ctx)
}
