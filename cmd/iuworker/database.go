package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/address"
	"github.com/iu-core/iuworker/internal/dbsession"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

const (
	readyWithin = 10 * time.Second
	commandPool = 4 // connections of a command that does one thing
)

// addressFlags are --NAME, an address, and --NAME-file, a file that holds it.
type addressFlags struct{ name, url, file string }

func (f *addressFlags) register(flags *pflag.FlagSet, name, help, file string) {
	f.name = name
	flags.StringVar(&f.url, name, "", help)
	flags.StringVar(&f.file, name+"-file", "", file)
}

// source returns where the address comes from; given is false if neither flag is.
func (f *addressFlags) source(a *app) (from address.Source, given bool) {
	from = address.Source{Getenv: a.getenv, Logger: a.logger, Text: f.url, File: f.file}
	name := f.name
	if f.file != "" {
		name, from.Text = name+"-file", ""
	}
	from.Name = "--" + name + " or " + variable(name)
	return from, f.url != "" || f.file != ""
}

type databaseFlags struct{ pool, direct, read addressFlags }

func (f *databaseFlags) register(flags *pflag.FlagSet) {
	f.pool.register(flags, "database-url", "address of the database; else $DATABASE_URL, else PG* as for psql",
		"file with this address, read again for each new connection")
	f.direct.register(flags, "direct-database-url", "address for LISTEN, session locks and migrations, if the first goes through a transaction pooler",
		"file with that address, read again for each new connection")
	f.read.register(flags, "read-database-url", "address of a hot standby, from which serve and subscribe read",
		"file with that address, read again for each new connection")
}

// source returns where the database's address comes from; given is false if only PG* can name it.
func (a *app) source() (from address.Source, given bool) {
	if from, given = a.database.pool.source(a); given {
		return from, true
	}
	if from.Text = a.getenv("DATABASE_URL"); from.Text != "" {
		from.Name = "DATABASE_URL"
		return from, true
	}
	from.Name = "the environment (PG*)"
	return from, false
}

// addresses lead to the database: pool for queries, direct for what needs a session, read for what a standby can do.
type addresses struct {
	pool   *pgxpool.Config
	direct *pgx.ConnConfig
	read   *pgxpool.Config // of a hot standby; nil: there is none
	sized  bool            // the address itself sets the size of the pool
	reread []func(ctx context.Context)

	readSized bool // the address of the standby sets the size of its pool
}

// addReadAddress adds the address of a hot standby if one is given. Of several hosts, a standby is preferred.
func (a *app) addReadAddress(cmd *cobra.Command, at *addresses) error {
	from, given := a.database.read.source(a)
	if !given {
		return nil
	}
	getenv := from.Getenv
	from.Getenv = func(name string) string {
		value := getenv(name)
		if value == "" && name == "PGTARGETSESSIONATTRS" {
			return "prefer-standby"
		}
		return value
	}
	read, err := open(cmd, from)
	if err != nil {
		return err
	}
	at.read, at.readSized, at.reread = read.Pool, read.Sized, append(at.reread, read.Reread)
	return nil
}

// size sets the size of the pools. A size in the address overrides the default, and a flag overrides both.
func (at addresses) size(connections int, flagGiven bool) {
	if flagGiven || !at.sized {
		at.pool.MaxConns = int32(connections) //nolint:gosec // the flag has a bound
		at.pool.MinConns = min(at.pool.MinConns, at.pool.MaxConns)
	}
	if at.read != nil && (flagGiven || !at.readSized) {
		at.read.MaxConns = int32(connections) //nolint:gosec // the flag has a bound
		at.read.MinConns = min(at.read.MinConns, at.read.MaxConns)
	}
}

// addresses reads the addresses without connecting. An address that cannot be read is wrong usage.
func (a *app) addresses(cmd *cobra.Command) (addresses, error) {
	from, _ := a.source()
	at, err := a.addressesOf(cmd, from)
	if err == nil {
		err = a.addReadAddress(cmd, &at)
	}
	return at, err
}

func (a *app) addressesOf(cmd *cobra.Command, from address.Source) (addresses, error) {
	for _, f := range []addressFlags{a.database.pool, a.database.direct, a.database.read} {
		if f.url != "" && f.file != "" {
			return addresses{}, usage(cmd, "--%s and --%s-file contradict each other: give one of them", f.name, f.name)
		}
	}
	first, err := open(cmd, from)
	if err != nil {
		return addresses{}, err
	}
	a.login = first.Pool.ConnConfig.User
	at := addresses{
		pool: first.Pool, direct: first.Pool.ConnConfig.Copy(), sized: first.Sized, reread: []func(context.Context){first.Reread},
	}
	if from, given := a.database.direct.source(a); given {
		direct, err := open(cmd, from)
		if err != nil {
			return addresses{}, err
		}
		at.direct, at.reread = direct.Pool.ConnConfig, append(at.reread, direct.Reread)
	}
	return at, nil
}

// open makes a configuration. Every connection of the program is made with one that open returned.
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

// connect opens a pool, and fails unless the database replies.
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

// quickly limits commands that read or write a few rows. One that takes longer waits for a lock.
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

// checkSchema fails if the schema is missing or does not fit this program. It passes for a login that may not read the
// schema's version, as those of applications and subscribers.
func (a *app) checkSchema(ctx context.Context, pool *pgxpool.Pool) error {
	err := iusql.CheckSchema(ctx, pool)
	if errors.Is(err, iusql.ErrPrivileges) {
		a.logger.DebugContext(ctx, "Schema: not checked", slog.String("reason", err.Error()))
		return nil
	}
	return err
}

// givenSettings returns the settings that the user gave, for the pages. Addresses have no passwords.
func givenSettings(cmd *cobra.Command, at addresses) []worker.GivenSetting {
	var given []worker.GivenSetting
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed || !hasVariable(cmd, f) || strings.HasPrefix(f.Name, "read-database-url") { // a worker reads no standby
			return
		}
		s := worker.GivenSetting{Name: f.Name, Value: f.Value.String(), Default: f.DefValue, From: "--" + f.Name}
		if variable := f.Annotations[cameFrom]; len(variable) > 0 {
			s.From = "$" + variable[0]
		}
		switch f.Name {
		case "database-url":
			s.Value = addressOf(at.pool.ConnConfig)
		case "direct-database-url":
			s.Value = addressOf(at.direct)
		case "otlp-endpoint":
			s.Value = withoutSecrets(s.Value)
		}
		given = append(given, s)
	})
	return given
}

// addressOf returns an address as psql takes it, without a password: psql asks for it, or knows it from elsewhere.
func addressOf(cfg *pgx.ConnConfig) string {
	text := fmt.Sprintf("host=%s port=%d user=%s", conninfo(cfg.Host), cfg.Port, conninfo(cfg.User))
	if cfg.Database != "" {
		text += " dbname=" + conninfo(cfg.Database)
	}
	return text
}

// conninfo quotes a value for a connection string if necessary.
func conninfo(value string) string {
	if value != "" && !strings.ContainsAny(value, ` '\`) {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// withoutSecrets returns a URL without the parts that may be secret: user, password, query and fragment.
func withoutSecrets(text string) string {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		return strings.Split(text, "?")[0]
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String()
}
