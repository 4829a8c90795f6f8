package iusql

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// Defaults of Config.LockTimeout and Config.Wait.
const (
	DefaultLockTimeout = 5 * time.Second
	DefaultWait        = time.Minute
)

// Config says what to migrate and how long to wait. Only ConnConfig is required; the zero value of each other field is its default.
type Config struct {
	// ConnConfig connects to the database directly, not through a transaction pooler, because a migration holds a
	// session lock. It is not modified.
	ConnConfig *pgx.ConnConfig

	// Logger receives progress and the notices of the database. Default: slog.Default().
	Logger *slog.Logger

	// LockTimeout is how long one attempt waits for a lock on a table. Sessions that need that table queue behind
	// it, so keep it short. Default 5 s.
	LockTimeout time.Duration

	// Wait is how long a run waits for another run to end, and how long it retries a migration that does not get
	// its locks. Default 1 min.
	Wait time.Duration

	// Force lets Down drop tables that still have rows.
	Force bool
}

func (c Config) withDefaults() Config {
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.LockTimeout = cmp.Or(c.LockTimeout, DefaultLockTimeout)
	c.Wait = cmp.Or(c.Wait, DefaultWait)
	return c
}
