package worker

import (
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/jobs"
)

// newInserter returns the relay's client.
func newInserter(cfg Config) (*river.Client[pgx.Tx], error) {
	client, err := river.NewClient[pgx.Tx](newInsertDriver(cfg.Pool), &river.Config{
		Schema: jobs.RiverSchema, Logger: quieter(cfg.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("set River's inserting side up: %w", err)
	}
	return client, nil
}

const (
	// fetchCooldown is how long River waits between two fetches: its default of 100 ms would be most of an event's latency.
	fetchCooldown = time.Millisecond

	// noRescue keeps River from rescuing jobs, which it does by this machine's clock and after an hour: the rescuer does it.
	noRescue = 100 * 365 * 24 * time.Hour
)

// queues returns the queues that this process works.
func (c Config) queues(throttle *compose.Throttle) map[string]river.QueueConfig {
	queues := map[string]river.QueueConfig{jobs.QueueEvents: {MaxWorkers: throttle.Jobs(c.Concurrency)}}
	if c.ScaleoutConcurrency > 0 {
		queues[jobs.QueueScaleout] = river.QueueConfig{MaxWorkers: throttle.Jobs(c.ScaleoutConcurrency)}
	}
	return queues
}

// rebuiltIndexes returns the indexes that River rebuilds each day: all its own but those that functions/job.sql replaces.
func rebuiltIndexes() []string {
	return slices.DeleteFunc(river.ReindexerIndexNamesDefault(), func(name string) bool {
		return name == "river_job_args_index" || name == "river_job_metadata_index"
	})
}

func newRiver(cfg Config, work *compose.Worker, throttle *compose.Throttle, driver *workDriver, mayReindex bool) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, work); err != nil {
		return nil, fmt.Errorf("register the job worker: %w", err)
	}
	config := &river.Config{
		ID:                          cfg.ID,
		Schema:                      jobs.RiverSchema,
		Logger:                      quieter(cfg.Logger),
		Queues:                      cfg.queues(throttle),
		Workers:                     workers,
		JobTimeout:                  compose.Timeout,
		RescueStuckJobsAfter:        noRescue,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           idlePolls * cfg.PollInterval, // riverControl fetches more often if needed
		CompletedJobRetentionPeriod: cfg.CompletedRetention,
		CancelledJobRetentionPeriod: cfg.CancelledRetention,
		DiscardedJobRetentionPeriod: cfg.DiscardedRetention,
		Test:                        river.TestConfig{Time: driver.executor.clock}, // the only way to give River a clock
	}
	if mayReindex { // only an index's owner may rebuild it
		config.ReindexerIndexNames = rebuiltIndexes()
	} else {
		config.ReindexerIndexNames = []string{}
	}
	client, err := river.NewClient[pgx.Tx](driver, config)
	if err != nil {
		return nil, fmt.Errorf("set River up: %w", err)
	}
	return client, nil
}
