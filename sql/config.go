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

// Config says what to migrate and how patiently. Its zero values are the defaults; only ConnConfig must be given.
type Config struct {
	// ConnConfig leads to the database directly, not through a transaction pooler: migrations hold a session lock.
	// It is not changed.
	ConnConfig *pgx.ConnConfig

	// Logger receives what happens, notices of the database included. Default: slog.Default().
	Logger *slog.Logger

	// LockTimeout is how long one try waits for a lock on a table; whoever needs that table queues behind it, so
	// keep it short. Default 5 s.
	LockTimeout time.Duration

	// Wait is how long a run waits for another run to end, and how long it goes on trying a migration that does
	// not get its locks. Default 1 min.
	Wait time.Duration

	// Force lets Down take away tables that still hold rows.
	Force bool
}

func (c Config) withDefaults() Config {
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.LockTimeout = cmp.Or(c.LockTimeout, DefaultLockTimeout)
	c.Wait = cmp.Or(c.Wait, DefaultWait)
	return c
}
