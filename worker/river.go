package worker

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/iu-core/iuworker/jobs"
)

// driver is River's pgx driver with its LISTEN connection taken from another pool, since the main one may go through
// a transaction pooler.
type driver struct {
	*riverpgxv5.Driver

	direct *riverpgxv5.Driver
	logger *slog.Logger
}

func (d *driver) GetExecutor() riverdriver.Executor {
	return lockWary{Executor: d.Driver.GetExecutor(), logger: d.logger}
}

func (d *driver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return d.direct.GetListener(params)
}

// silent is a driver for a client that only inserts, and tells nobody: River's own notification costs a round trip, and
// is held back where it follows another within FetchCooldown, which can leave a job to the next poll. claim() sends it.
type silent struct{ *riverpgxv5.Driver }

func (silent) SupportsListenNotify() bool { return false }

// newInserter makes the relay's client.
func newInserter(cfg Config) (*river.Client[pgx.Tx], error) {
	client, err := river.NewClient[pgx.Tx](silent{riverpgxv5.New(cfg.Pool)}, &river.Config{
		Schema: jobs.RiverSchema, Logger: quieter(cfg.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("set River's inserting side up: %w", err)
	}
	return client, nil
}

// fetchCooldown is how long River waits between two fetches: the default of 100 ms would be the greatest part of an
// event's latency.
const fetchCooldown = time.Millisecond

func newRiver(cfg Config, work *jobs.Worker, direct *pgxpool.Pool, mayReindex bool) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, work); err != nil {
		return nil, fmt.Errorf("register the job worker: %w", err)
	}
	queues := map[string]river.QueueConfig{jobs.QueueEvents: {MaxWorkers: cfg.Concurrency}}
	if cfg.ScaleoutConcurrency > 0 {
		queues[jobs.QueueScaleout] = river.QueueConfig{MaxWorkers: cfg.ScaleoutConcurrency}
	}
	config := &river.Config{
		ID:                          cfg.ID,
		Schema:                      jobs.RiverSchema,
		Logger:                      quieter(cfg.Logger),
		Queues:                      queues,
		Workers:                     workers,
		JobTimeout:                  jobs.Timeout,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           cfg.PollInterval,
		PollOnly:                    direct == nil,
		CompletedJobRetentionPeriod: cfg.CompletedRetention,
		CancelledJobRetentionPeriod: cfg.CancelledRetention,
		DiscardedJobRetentionPeriod: cfg.DiscardedRetention,
	}
	if !mayReindex {
		config.ReindexerIndexNames = []string{} // only an index's owner may rebuild it
	}
	d := &driver{Driver: riverpgxv5.New(cfg.Pool), logger: cfg.Logger}
	d.direct = d.Driver
	if direct != nil {
		d.direct = riverpgxv5.New(direct)
	}
	client, err := river.NewClient[pgx.Tx](d, config)
	if err != nil {
		return nil, fmt.Errorf("set River up: %w", err)
	}
	return client, nil
}
