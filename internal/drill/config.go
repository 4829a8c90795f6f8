package drill

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/pgserver"
)

// Config configures Run. The zero value of a field means its default.
type Config struct {
	// Program is the path of iuworker, which runs as worker, as consumer and, by StreamCommand, as stream client. Required.
	Program string

	// Environ is the environment of these processes. Run adds the address of the database.
	Environ []string

	// Server is the address of any database of the server, not of a transaction pooler and of one host. Required. Its login must
	// be allowed to create databases.
	Server *pgxpool.Config

	// Address returns the address of a database of Server, as the processes get it, through a proxy at host (the directory of a
	// socket, or an IP address) and port. Required.
	Address func(database, host string, port int) string

	// Own is the server if this program started it: then it may be killed and replaced. The caller stops it. Default: the server
	// belongs to others, and what would hurt them is skipped.
	Own *pgserver.Server

	// Only names the scenarios to run, of those that Scenarios returns. Default: all.
	Only []string

	// Duration is how long to run rounds of all scenarios in a random order. Default: one round, however long it takes. A
	// scenario that has begun ends.
	Duration time.Duration

	// Seed decides all random choices. Default 1.
	Seed uint64

	// Rate is how many events are inserted per second. Default 40.
	Rate int

	// Workers is the number of worker processes. Default 2.
	Workers int

	// Patience is how long the installation may take to recover from a fault. Default: 2 minutes.
	Patience time.Duration

	// Command is the command that repeats the run, for the evidence. Default: none.
	Command string

	// Logger logs the migration and the servers. Default slog.Default().
	Logger *slog.Logger

	// Progress is called several times per second, by one goroutine at a time. Default: no call.
	Progress func(Progress)
}

// Progress says what the drill does now.
type Progress struct {
	Scenario     string        // "" before the first one and after the last one
	Step         string        // what happens
	Round        int           // from 1
	Done         int           // scenarios that ended
	Of           int           // scenarios of a round, times the rounds if their number is known
	Elapsed      time.Duration // since the load began
	Acknowledged int           // events
	Pending      int           // of them: those that somebody has not received

	begun time.Time
}

// StreamCommand is the command of Config.Program that runs a StreamClient. Its argument is the URL, its flag --after the ID after
// which it begins, and its variable IUWORKER_EVENTS_TOKEN the token.
const StreamCommand = "drill-stream"

// Defaults and sizes of an installation.
const (
	DefaultRate     = 40
	DefaultWorkers  = 2
	DefaultPatience = 2 * time.Minute
	consumers       = 2 // durable consumers; the first has two processes
	streams         = 2 // clients of Server-Sent Events
)

func (c Config) withDefaults() (Config, error) {
	if c.Server == nil || c.Program == "" || c.Address == nil {
		return c, errors.New("drill: Config.Server, Program and Address are required")
	}
	for _, name := range c.Only {
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == name }) {
			return c, fmt.Errorf("drill: there is no scenario %q", name)
		}
	}
	c.Seed = cmp.Or(c.Seed, 1)
	c.Rate = cmp.Or(c.Rate, DefaultRate)
	c.Workers = cmp.Or(c.Workers, DefaultWorkers)
	c.Patience = cmp.Or(c.Patience, DefaultPatience)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	return c, nil
}

// ServerSettings returns settings for a server that is started for a run: durable, with few connections, so that they can be
// used up.
func ServerSettings() map[string]string {
	return map[string]string{
		"fsync":              "on",
		"synchronous_commit": "on",
		"full_page_writes":   "on",
		"max_connections":    "80",
		"wal_level":          "replica",
		"hot_standby":        "on",
	}
}
