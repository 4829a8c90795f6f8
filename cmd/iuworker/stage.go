package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/address"
	"github.com/iu-core/iuworker/internal/demo"
	"github.com/iu-core/iuworker/internal/pgserver"
	iusql "github.com/iu-core/iuworker/sql"
)

// stage is the database of demo and dev: a given one, or one on a server of their own.
type stage struct {
	at       addresses
	server   *pgserver.Server // nil if a database was given
	address  string           // to show: without a password
	postgres string           // the server's version
}

// setStage finds the database or starts a server with one, migrates it, opens the gates and creates the template.
func (a *app) setStage(ctx context.Context, cmd *cobra.Command, overrule bool, server pgserver.Config) (s *stage, err error) {
	s = &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	from, given := a.source()
	if !given { // PG* do not count as given: a demo must not run in the database that psql happens to use
		if from, err = s.start(ctx, a, cmd, server); err != nil {
			return s, err
		}
	}
	if s.at, err = a.addressesOf(cmd, from); err != nil {
		return s, err
	}
	err = s.furnish(ctx, a.logger, overrule)
	return s, err
}

// startServer starts a server for a command to which no database was given. The caller stops it.
func (a *app) startServer(ctx context.Context, cmd *cobra.Command, cfg pgserver.Config) (*pgserver.Server, error) {
	if _, given := a.database.direct.source(a); given {
		return nil, usage(cmd, "--direct-database-url needs --database-url: there is one address for each use")
	}
	a.ending.allow(serverStop)
	cfg.Logger = a.logger
	if pgserver.Find(ctx) == "" {
		cfg.Logger = a.log.logger(a.stderr, a.getenv, toldLevel) // a download takes some time
	}
	return pgserver.Start(ctx, cfg)
}

// start starts a server, creates a database in it, and returns the address of the database.
func (s *stage) start(ctx context.Context, a *app, cmd *cobra.Command, cfg pgserver.Config) (from address.Source, err error) {
	if s.server, err = a.startServer(ctx, cmd, cfg); err != nil {
		return from, err
	}
	if err := createDatabase(ctx, cmd, a.startedServer(s.server.URL("postgres"))); err != nil {
		return from, err
	}
	s.address = s.server.URL(databaseName)
	return a.startedServer(s.address), nil
}

const databaseName = "iuworker"

// startedServer returns the address of a server that this program started, to which PG* do not apply.
func (a *app) startedServer(url string) address.Source {
	return address.Source{Name: "the server that was started", Text: url, Getenv: func(string) string { return "" }, Logger: a.logger}
}

func createDatabase(ctx context.Context, cmd *cobra.Command, from address.Source) error {
	cfg, err := open(cmd, from)
	if err != nil {
		return err
	}
	pool, err := connect(ctx, cfg.Pool)
	if err != nil {
		return err
	}
	defer closePool(pool)
	_, err = pool.Exec(ctx, "CREATE DATABASE "+databaseName)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == pgerrcode.DuplicateDatabase {
		return nil // an earlier run created it, in the same --data-dir
	}
	if err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

// furnish checks whose database it is, migrates it, opens the gates and creates the template.
func (s *stage) furnish(ctx context.Context, logger *slog.Logger, overrule bool) error {
	pool, err := connect(ctx, s.at.pool)
	if err != nil {
		return err
	}
	defer closePool(pool)
	ground, err := demo.Inspect(ctx, pool)
	if err != nil {
		return err
	}
	if ground == demo.GroundForeign && !overrule {
		return fmt.Errorf("the database %q is neither empty nor made by a demo: the demo would migrate it, open its gates and leave "+
			"twelve instances there; use an empty database, or pass --yes", s.at.pool.ConnConfig.Database)
	}
	if _, err := iusql.Up(ctx, iusql.Config{ConnConfig: s.at.direct, Logger: logger}); err != nil {
		return err
	}
	if ground == demo.GroundEmpty {
		if err := demo.Mark(ctx, pool); err != nil {
			return err
		}
	}
	if err := demo.Prepare(ctx, pool); err != nil {
		return err
	}
	return pool.QueryRow(ctx, "SHOW server_version").Scan(&s.postgres)
}

// close stops the server if one was started.
func (s *stage) close() error {
	if s.server == nil {
		return nil
	}
	return s.server.Stop()
}
