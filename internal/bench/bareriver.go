package bench

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	bareSchema  = "iu_bench_river"
	bareChannel = "iu_bench_river_done"

	// bareNotify is the least that a job can do.
	bareNotify = "SELECT pg_catalog.pg_notify('" + bareChannel + "', $1)"
)

// migrateBareRiver creates a River of its own in the scratch database.
func (s *scratch) migrateBareRiver(ctx context.Context) error {
	if err := s.Exec(ctx, "make a schema for the bare River", "CREATE SCHEMA IF NOT EXISTS "+bareSchema); err != nil {
		return err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(s.Pool), &rivermigrate.Config{
		Schema: bareSchema, Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return fmt.Errorf("migrate the bare River: %w", err)
	}
	return nil
}

type bareArgs struct {
	ID uuid.UUID `json:"id"`
}

// Kind implements river.JobArgs.
func (bareArgs) Kind() string { return "bench" }

type bareWorker struct {
	river.WorkerDefaults[bareArgs]

	pool *pgxpool.Pool
	work string // a statement with the job's id as $1
}

// Work implements river.Worker.
func (w *bareWorker) Work(ctx context.Context, job *river.Job[bareArgs]) error {
	_, err := w.pool.Exec(ctx, w.work, job.Args.ID.String())
	return err
}

// composeAndNotify returns the statement of a job that composes and notifies without iuworker. A dry run writes no emission,
// which only iuworker needs.
func (s *scratch) composeAndNotify() string {
	return fmt.Sprintf(`SELECT public.fn_iu_auto_instantiate_from_event($1::uuid, 'bench.happened', '%s', 'bare-' || $1, 'dry_run', '%s', NULL), `+
		`pg_catalog.pg_notify('%s', $1::text)`, s.Template, actor, bareChannel)
}

// bareLatency measures a block of jobs that run a statement in the bare River.
func (s *scratch) bareLatency(ctx context.Context, connections, n int, work string) (block []time.Duration, err error) {
	clock := newClock(1)
	err = s.withBareRiver(ctx, connections, work, func(client *river.Client[pgx.Tx]) error {
		stop, err := clock.listen(ctx, s.Config(1).ConnConfig, bareChannel, func(payload string) (uuid.UUID, bool) {
			id, err := uuid.Parse(payload)
			return id, err == nil
		})
		if err != nil {
			return err
		}
		defer stop()
		block, err = clock.drip(ctx, n, func(ctx context.Context, id uuid.UUID) error {
			_, err := client.Insert(ctx, bareArgs{ID: id}, nil)
			return err
		})
		return err
	})
	return block, err
}

// withBareRiver runs do while the bare River works, tuned as a user would tune it. Its jobs run a statement.
func (s *scratch) withBareRiver(ctx context.Context, connections int, work string, do func(*river.Client[pgx.Tx]) error) error {
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.Config(connections))
	if err != nil {
		return fmt.Errorf("open the bare River's pool: %w", err)
	}
	defer pool.Close()
	workers := river.NewWorkers()
	river.AddWorker(workers, &bareWorker{pool: pool, work: work})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: bareSchema, Logger: slog.New(slog.DiscardHandler), Workers: workers, FetchCooldown: time.Millisecond,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}},
	})
	if err != nil {
		return fmt.Errorf("set the bare River up: %w", err)
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start the bare River: %w", err)
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
		defer cancel()
		_ = client.StopAndCancel(stopping) // its database is dropped anyway
	}()
	return do(client)
}
