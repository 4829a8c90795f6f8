package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	iusql "github.com/iu-core/iuworker/sql"
)

const (
	connectTimeout = 10 * time.Second // where the address names none
	commandPool    = 4                // connections of a command that does one thing
)

type databaseFlags struct{ url, direct string }

func (f *databaseFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "database-url", "",
		"address of the database; else $DATABASE_URL, else PG* as for psql")
	flags.StringVar(&f.direct, "direct-database-url", "",
		"address for LISTEN, session locks and migrations, where the first goes through a transaction pooler")
}

// address answers the database's address and which setting it comes from; both are empty where only PG* can say.
func (a *app) address() (address, source string) {
	if a.database.url != "" {
		return a.database.url, "--database-url or IUWORKER_DATABASE_URL"
	}
	if url := a.getenv("DATABASE_URL"); url != "" {
		return url, "DATABASE_URL"
	}
	return "", ""
}

// addresses are where the database is: for queries, and for what needs a session of its own.
type addresses struct {
	pool   *pgxpool.Config
	direct *pgx.ConnConfig
	sized  bool // the address itself says how large the pool is
}

// size sets the pool's size, unless the address says it and no flag contradicts.
func (at addresses) size(connections int, flagGiven bool) {
	if flagGiven || !at.sized {
		at.pool.MaxConns = int32(connections) //nolint:gosec // the flag has a bound
		at.pool.MinConns = min(at.pool.MinConns, at.pool.MaxConns)
	}
}

// addresses reads the addresses without connecting; what cannot be read is wrong usage.
func (a *app) addresses(cmd *cobra.Command) (addresses, error) {
	address, source := a.address()
	return a.addressesOf(cmd, address, cmp.Or(source, "the environment (PG*)"))
}

func (a *app) addressesOf(cmd *cobra.Command, address, source string) (addresses, error) {
	pool, err := pgxpool.ParseConfig(address)
	if err != nil || ambiguous(address) {
		return addresses{}, badAddress(cmd, source)
	}
	settle(pool.ConnConfig)
	direct := pool.ConnConfig.Copy()
	if a.database.direct != "" {
		parsed, err := pgxpool.ParseConfig(a.database.direct) // it may have a pool's settings in it, as the first has
		if err != nil || ambiguous(a.database.direct) {
			return addresses{}, badAddress(cmd, "--direct-database-url or IUWORKER_DIRECT_DATABASE_URL")
		}
		direct = parsed.ConnConfig
		settle(direct)
	}
	return addresses{pool: pool, direct: direct, sized: strings.Contains(address, "pool_max_conns")}, nil
}

// badAddress repeats nothing of the address, nor of what its parser says: either may hold the password.
func badAddress(cmd *cobra.Command, source string) error {
	return usage(cmd, "the database address from %s cannot be read: write it like postgres://user@host:5432/database, "+
		"with special characters of user and password percent-encoded", source)
}

// ambiguous reports whether a URL has an @ where its parser would take a part of the password for the host or the
// database, which errors name.
func ambiguous(address string) bool {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		rest, ok := strings.CutPrefix(address, scheme)
		if !ok {
			continue
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		return strings.Count(rest[:end], "@") > 1 || strings.Contains(rest[end:], "@")
	}
	return false
}

// settle names the program, and makes a connection notice that its peer is gone within about 15 s.
func settle(cfg *pgx.ConnConfig) {
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "iuworker"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{
		Timeout:         cfg.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3},
	}
	cfg.DialFunc = dialer.DialContext
}

// connect opens a pool and makes sure that the database answers.
func connect(ctx context.Context, cfg *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, fmt.Errorf("open the connection pool: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		closePool(pool)
		return nil, fmt.Errorf("connect: %w", err)
	}
	return pool, nil
}

// quickly is how long a command may take that reads or writes some rows: longer means that somebody holds a lock.
const quickly = 30 * time.Second

// onDatabase runs what a command does on a database that has our schema, within a time; 0 is no limit.
func (a *app) onDatabase(cmd *cobra.Command, limit time.Duration, do func(ctx context.Context, pool *pgxpool.Pool) error) error {
	at, err := a.addresses(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	at.size(commandPool, false)
	pool, err := connect(ctx, at.pool)
	if err != nil {
		return err
	}
	defer closePool(pool)
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if err := a.checkSchema(ctx, pool); err != nil {
		return err
	}
	return do(ctx, pool)
}

// checkSchema fails where the schema is missing or does not fit. Applications and subscribers need not be allowed to read
// its version: what they do themselves says what they may not.
func (a *app) checkSchema(ctx context.Context, pool *pgxpool.Pool) error {
	err := iusql.CheckSchema(ctx, pool)
	if errors.Is(err, iusql.ErrPrivileges) {
		a.logger.DebugContext(ctx, "Schema: not checked", slog.String("reason", err.Error()))
		return nil
	}
	return err
}
