// Package scratch creates databases to try things in on a given server, and drops them.
//
//	failure                      what happens
//	Create fails, or is cut      nothing is left: neither the database nor a role
//	Drop's context has ended     it drops all the same
//	the program is killed        the database stays, and the next run drops it (Sweep)
//	Drop fails                   NotDroppedError names the statement
package scratch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

const (
	createTimeout = time.Minute
	dropTimeout   = time.Minute
	templateKey   = "scratch-template"
	templateActor = "iuworker-scratch"
)

// Pieces is how many memberships an instance of the template gets.
const Pieces = 12

// Config configures Create. The zero value of a field means its default.
type Config struct {
	// Server is the address of any database of the server, not of a transaction pooler. Required. Its login must be allowed to
	// create databases.
	Server *pgxpool.Config

	// Prefix begins the database's name. Required.
	Prefix string

	// PoolSize is how many connections Database.Pool has. Default 4.
	PoolSize int

	// Logger logs the migration. Required.
	Logger *slog.Logger
}

// NotDroppedError means that a database is left behind.
type NotDroppedError struct {
	name  string
	cause error
}

// Error implements error.
func (e *NotDroppedError) Error() string {
	return fmt.Sprintf("drop the scratch database %s: %s; to drop it, run: DROP DATABASE %s", e.name, e.cause, e.name)
}

// Unwrap is for errors.Is and errors.As.
func (e *NotDroppedError) Unwrap() error { return e.cause }

// Database is a migrated database with open gates, a template of twelve pieces, and a thousand pieces.
type Database struct {
	Name     string
	Pool     *pgxpool.Pool
	Template uuid.UUID

	server   *pgxpool.Config
	guard    *pgx.Conn // holds the lock that says that the run lives
	newRoles []string  // that the migration created
}

// On returns a database of that name on a server, whether it exists or not. It has no pool.
func On(server *pgxpool.Config, name string) *Database { return &Database{server: server, Name: name} }

// Create creates a database, migrates it, opens its gates and makes a template. If it fails, it leaves nothing behind.
func Create(ctx context.Context, cfg Config) (*Database, error) {
	tag := rand.Uint32()
	d := On(cfg.Server, fmt.Sprintf("%s%08x", cfg.Prefix, tag))
	if err := d.lock(ctx, tag); err != nil {
		return nil, fmt.Errorf("create the scratch database: %w", err)
	}
	var before []string
	err := d.onServer(ctx, func(conn *pgx.Conn) (err error) {
		if before, err = roles(ctx, conn); err != nil {
			return err
		}
		// The server may finish a statement that was cancelled, and nothing would drop the database.
		creating, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
		defer cancel()
		_, err = conn.Exec(creating, "CREATE DATABASE "+d.Name+" TEMPLATE template0")
		return err
	})
	if err != nil {
		d.unlock(ctx)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == pgerrcode.InsufficientPrivilege {
			login := pgx.Identifier{cfg.Server.ConnConfig.User}.Sanitize()
			return nil, fmt.Errorf("create the scratch database: %s; as an administrator, run: ALTER ROLE %s CREATEDB", pgErr.Message, login)
		}
		return nil, fmt.Errorf("create the scratch database: %w", err)
	}
	if err := d.furnish(ctx, cfg, before); err != nil {
		return nil, errors.Join(err, d.Drop(ctx))
	}
	return d, nil
}

func (d *Database) furnish(ctx context.Context, cfg Config, before []string) error {
	var err error
	if d.Pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), d.Config(cmp.Or(cfg.PoolSize, 4))); err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	_, err = iusql.Up(ctx, iusql.Config{ConnConfig: d.Config(1).ConnConfig, Logger: cfg.Logger})
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout) // an interrupted migration leaves roles, too
	defer cancel()
	after, errRoles := roles(looking, d.Pool)
	d.newRoles = slices.DeleteFunc(after, func(role string) bool { return slices.Contains(before, role) })
	if err := errors.Join(err, errRoles); err != nil {
		return err
	}
	return d.makeTemplate(ctx)
}

// Config returns the server's config with the scratch database.
func (d *Database) Config(connections int) *pgxpool.Config {
	cfg := d.server.Copy()
	cfg.ConnConfig.Database = d.Name
	cfg.MaxConns = int32(connections) //nolint:gosec // the flag has a bound
	cfg.MinConns = min(cfg.MinConns, cfg.MaxConns)
	return cfg
}

func (d *Database) onServer(ctx context.Context, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, d.server.ConnConfig)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // its work is done
	return do(conn)
}

// roles returns those of our roles that exist.
func roles(ctx context.Context, q operate.Querier) ([]string, error) {
	return operate.Collect(ctx, q, pgx.RowTo[string], "SELECT r.rolname::text FROM pg_catalog.pg_roles AS r WHERE r.rolname = ANY ($1)", names.Roles)
}

// Exec runs a statement; what, a verb and its object, begins the error.
func (d *Database) Exec(ctx context.Context, what, sql string, args ...any) error {
	if _, err := d.Pool.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Read reads one row; what begins the error.
func (d *Database) Read(ctx context.Context, what string, into []any, sql string, args ...any) error {
	if err := d.Pool.QueryRow(ctx, sql, args...).Scan(into...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// makeTemplate opens the gates and makes a template of 12 pieces, from 1,000.
func (d *Database) makeTemplate(ctx context.Context) error {
	err := d.Exec(ctx, "make pieces", `
		UPDATE public.dot_config SET value = 'true'
		WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled');
		INSERT INTO public.iu_piece (piece_key, body, created_by)
		SELECT 'scratch/' || n, pg_catalog.jsonb_build_object('text', 'Piece ' || n), '`+templateActor+`'
		FROM pg_catalog.generate_series(1, 1000) AS n`)
	if err != nil {
		return err
	}
	err = d.Read(ctx, "compose the template", []any{&d.Template}, `
		SELECT public.fn_iu_compose('`+templateKey+`', 'Scratch', pg_catalog.array_agg(p.id ORDER BY p.id), '`+templateActor+`') ->> 'collection_id'
		FROM (SELECT id FROM public.iu_piece ORDER BY id LIMIT $1) AS p`, Pieces)
	if err != nil {
		return err
	}
	return d.Exec(ctx, "mark the template", "SELECT public.fn_iu_collection_mark_template($1, $2)", d.Template, templateActor)
}

// Close leaves the database, for a server that is thrown away.
func (d *Database) Close(ctx context.Context) {
	d.Pool.Close()
	d.unlock(ctx)
}

// Drop drops the database, even if sessions are connected to it, and the roles that the migration created. It works after the
// end of ctx, too.
func (d *Database) Drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	defer d.unlock(ctx)
	if d.Pool != nil {
		d.Pool.Close()
	}
	err := d.onServer(ctx, func(conn *pgx.Conn) error {
		if err := drop(ctx, conn, d.Name); err != nil {
			return err
		}
		for _, role := range d.newRoles {
			_, err := conn.Exec(ctx, "DROP ROLE IF EXISTS "+pgx.Identifier{role}.Sanitize())
			var pgErr *pgconn.PgError
			switch {
			case err == nil:
			case !errors.As(err, &pgErr):
				return err
			case pgErr.Code == pgerrcode.DependentObjectsStillExist: // a database that was migrated since needs it
			case pgErr.Code == pgerrcode.InsufficientPrivilege: // another login created it meanwhile
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return &NotDroppedError{d.Name, err}
	}
	return nil
}

// drop drops a database, and ends what is connected to it. FORCE refuses to end an autovacuum worker for a login without
// privileges; a plain DROP ends it, but no sessions.
func drop(ctx context.Context, conn *pgx.Conn, name string) error {
	_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != pgerrcode.InsufficientPrivilege {
		return err
	}
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false"); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `
		SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a
		WHERE a.datname = $1 AND a.usename = SESSION_USER`, name)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name)
	return err
}
