package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/address"
	"github.com/iu-core/iuworker/internal/dbsession"
	iusql "github.com/iu-core/iuworker/sql"
)

const (
	readyWithin = 10 * time.Second
	commandPool = 4 // connections of a command that does one thing
)

type databaseFlags struct{ url, file, direct, directFile string }

func (f *databaseFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "database-url", "",
		"address of the database; else $DATABASE_URL, else PG* as for psql")
	flags.StringVar(&f.file, "database-url-file", "",
		"file with this address, read again for each new connection")
	flags.StringVar(&f.direct, "direct-database-url", "",
		"address for LISTEN, session locks and migrations, if the first goes through a transaction pooler")
	flags.StringVar(&f.directFile, "direct-database-url-file", "",
		"file with that address, read again for each new connection")
}

// source returns where the database's address comes from; given is false if only PG* can name it.
func (a *app) source() (from address.Source, given bool) {
	from = address.Source{Name: "the environment (PG*)", Getenv: a.getenv, Logger: a.logger}
	switch url := a.getenv("DATABASE_URL"); {
	case a.database.file != "":
		from.Name, from.File = "--database-url-file or IUWORKER_DATABASE_URL_FILE", a.database.file
	case a.database.url != "":
		from.Name, from.Text = "--database-url or IUWORKER_DATABASE_URL", a.database.url
	case url != "":
		from.Name, from.Text = "DATABASE_URL", url
	default:
		return from, false
	}
	return from, true
}

// directSource returns where the address comes from for what needs a session; given is false if it is the first one.
func (a *app) directSource() (from address.Source, given bool) {
	from = address.Source{Getenv: a.getenv, Logger: a.logger}
	switch {
	case a.database.directFile != "":
		from.Name, from.File = "--direct-database-url-file or IUWORKER_DIRECT_DATABASE_URL_FILE", a.database.directFile
	case a.database.direct != "":
		from.Name, from.Text = "--direct-database-url or IUWORKER_DIRECT_DATABASE_URL", a.database.direct
	default:
		return from, false
	}
	return from, true
}

// addresses are where the database is: for queries, and for what needs a session of its own.
type addresses struct {
	pool   *pgxpool.Config
	direct *pgx.ConnConfig
	sized  bool // the address itself says how large the pool is

	reread []func(ctx context.Context)
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
	from, _ := a.source()
	return a.addressesOf(cmd, from)
}

func (a *app) addressesOf(cmd *cobra.Command, from address.Source) (addresses, error) {
	if err := a.contradictions(cmd); err != nil {
		return addresses{}, err
	}
	first, err := open(cmd, from)
	if err != nil {
		return addresses{}, err
	}
	a.login = first.Pool.ConnConfig.User
	at := addresses{
		pool: first.Pool, direct: first.Pool.ConnConfig.Copy(), sized: first.Sized, reread: []func(context.Context){first.Reread},
	}
	if from, given := a.directSource(); given {
		direct, err := open(cmd, from) // it may have a pool's settings in it, as the first has
		if err != nil {
			return addresses{}, err
		}
		at.direct, at.reread = direct.Pool.ConnConfig, append(at.reread, direct.Reread)
	}
	return at, nil
}

// contradictions refuses an address that is given twice.
func (a *app) contradictions(cmd *cobra.Command) error {
	for _, pair := range [][2]string{
		{"database-url", "database-url-file"}, {"direct-database-url", "direct-database-url-file"},
	} {
		if cmd.Flags().Lookup(pair[0]) == nil {
			continue
		}
		if err := notTogether(cmd, pair[0], pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// open makes a configuration. Every connection of the program, apart from those to a server that it starts itself, is made
// with one that went through here.
func open(cmd *cobra.Command, from address.Source) (address.Config, error) {
	cfg, err := from.Config()
	if wrong, ok := errors.AsType[*address.Error](err); ok {
		return address.Config{}, usage(cmd, "%v", wrong)
	}
	if err == nil {
		dbsession.PreparePool(cfg.Pool)
	}
	return cfg, err
}

// connect opens a pool and makes sure that the database replies.
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

// onServer connects and runs do within a time; 0 is no limit.
func (a *app) onServer(cmd *cobra.Command, limit time.Duration, do func(ctx context.Context, pool *pgxpool.Pool, at addresses) error) error {
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
	return do(ctx, pool, at)
}

// onDatabase is onServer for a database that has our schema.
func (a *app) onDatabase(cmd *cobra.Command, limit time.Duration, do func(ctx context.Context, pool *pgxpool.Pool) error) error {
	return a.onServer(cmd, limit, func(ctx context.Context, pool *pgxpool.Pool, _ addresses) error {
		if err := a.checkSchema(ctx, pool); err != nil {
			return err
		}
		return do(ctx, pool)
	})
}

// checkSchema fails if the schema is missing or does not fit. Applications and subscribers need not be allowed to read
// its version: what they do themselves says what they may not.
func (a *app) checkSchema(ctx context.Context, pool *pgxpool.Pool) error {
	err := iusql.CheckSchema(ctx, pool)
	if errors.Is(err, iusql.ErrPrivileges) {
		a.logger.DebugContext(ctx, "Schema: not checked", slog.String("reason", err.Error()))
		return nil
	}
	return err
}
