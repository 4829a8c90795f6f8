package bench

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/worker"
)

// Config configures Run. The zero value of a field means its default.
type Config struct {
	// Server is the address of any database of the server, not of a transaction pooler. Required. Its login must be allowed to
	// create databases.
	Server *pgxpool.Config

	// Pgbench is the path of pgbench. Default: next to the binaries of an installed PostgreSQL, else on PATH.
	Pgbench string

	// Worker are the settings of the worker to measure. Run sets Pool, Direct, Logger and ID.
	Worker worker.Config

	// PoolSize is how many connections the worker has. Default dbsession.DefaultPoolSize.
	PoolSize int

	// Sizes are the sizes of the measurements. Default Full().
	Sizes Sizes

	// Only names the groups to run, of those that Groups returns. Default: all but growth.
	Only []string

	// Growth adds the group growth. It makes Sizes.History events, which takes long and about 5 kB of disk per event.
	Growth bool

	// Logger gets the worker's warnings. Default slog.Default().
	Logger *slog.Logger

	// Progress is called at the beginning of each step, by one goroutine at a time. Default: no call.
	Progress func(step string)
}

// Sizes are the sizes of the measurements of a run.
type Sizes struct {
	Repetitions   int           // of each measurement
	Events        int           // in one measurement of the throughput
	Warmup        int           // events before each of them
	LatencyEvents int           // in one measurement of the latency, at 20 per second
	Insert        time.Duration // of one measurement of inserts; 64 new sessions take up to two seconds until they insert at full speed
	Idle          time.Duration // that an idle worker is watched for
	Subscribers   int           // of the larger fan-out
	FanoutEvents  int           // in one measurement of the fan-out, at 20 per second
	History       int           // events made without a pause to measure growth
}

// Full is a run of about twenty minutes on two cores. Once in the minute in which it is idle, autovacuum looks at each database
// and the worker writes the history.
func Full() Sizes {
	return Sizes{
		Repetitions: 5, Events: 15_000, Warmup: 2_000, LatencyEvents: 100, Insert: 5 * time.Second,
		Idle: time.Minute, Subscribers: 500, FanoutEvents: 100, History: 1_000_000,
	}
}

// Quick is a run of some minutes: enough to see that something broke, not to compare.
func Quick() Sizes {
	return Sizes{
		Repetitions: 3, Events: 5_000, Warmup: 1_000, LatencyEvents: 60, Insert: time.Second,
		Idle: 10 * time.Second, Subscribers: 100, FanoutEvents: 20, History: 100_000,
	}
}

func (c Config) withDefaults() (Config, error) {
	if c.Server == nil {
		return c, errors.New("bench: Config.Server is required")
	}
	if c.Sizes == (Sizes{}) {
		c.Sizes = Full()
	}
	s := c.Sizes
	if s.Repetitions < 1 || s.Events < 1 || s.Warmup < 1 || s.LatencyEvents < 1 || s.FanoutEvents < 1 ||
		s.Subscribers < 1 || s.History < 1 || s.Insert < time.Second || s.Idle <= 0 {
		return c, errors.New("bench: sizes must be positive, and Insert a second at least")
	}
	for _, name := range c.Only {
		if !slices.Contains(Groups(), name) {
			return c, fmt.Errorf("bench: there is no group %q", name)
		}
	}
	if len(c.Only) == 0 {
		c.Only = slices.DeleteFunc(Groups(), func(name string) bool { return name == "growth" && !c.Growth })
	}
	c.PoolSize = cmp.Or(c.PoolSize, dbsession.DefaultPoolSize)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c, nil
}

// MeasuresGrowth reports whether a run includes the group growth.
func (c Config) MeasuresGrowth() bool { return c.Growth || slices.Contains(c.Only, "growth") }

// ServerSettings returns settings for a server that is started for the run: durable, and as large as in production.
// max_connections has room for the larger fan-out. With growth, autovacuum starts every 15 s, as docs/performance.md advises to those
// who insert millions of events; an idle server would spend more on that than on the worker.
func (c Config) ServerSettings() map[string]string {
	settings := map[string]string{
		"fsync":                "on",
		"synchronous_commit":   "on",
		"full_page_writes":     "on",
		"shared_buffers":       "1GB",
		"max_wal_size":         "4GB",
		"checkpoint_timeout":   "15min",
		"max_connections":      "700",
		"effective_cache_size": "3GB",
	}
	if c.MeasuresGrowth() {
		settings["autovacuum_naptime"] = "15s"
	}
	return settings
}
