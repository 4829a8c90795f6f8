package bench

import (
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
	namePrefix    = "iuworker_bench_"
	createTimeout = time.Minute
	dropTimeout   = time.Minute
	// poolForWatching is the size of the pool for the measuring itself.
	poolForWatching = 4
)

// notDroppedError means that a scratch database is left behind.
type notDroppedError struct {
	name  string
	cause error
}

func (e *notDroppedError) Error() string {
	return fmt.Sprintf("drop the scratch database %s: %s; to drop it, run: DROP DATABASE %s", e.name, e.cause, e.name)
}

func (e *notDroppedError) Unwrap() error { return e.cause }

// scratch is a database to measure in.
type scratch struct {
	server   *pgxpool.Config
	name     string
	guard    *pgx.Conn // holds the lock that says that the run lives
	pool     *pgxpool.Pool
	template uuid.UUID
	newRoles []string // that the migration created
}

// createScratch creates a database, migrates it, opens its gates and makes a template. If it fails, it leaves nothing behind.
func createScratch(ctx context.Context, server *pgxpool.Config, logger *slog.Logger) (*scratch, error) {
	tag := rand.Uint32()
	s := &scratch{server: server, name: fmt.Sprintf("%s%08x", namePrefix, tag)}
	if err := s.lock(ctx, tag); err != nil {
		return nil, fmt.Errorf("create the scratch database: %w", err)
	}
	var before []string
	err := s.onServer(ctx, func(conn *pgx.Conn) (err error) {
		if before, err = roles(ctx, conn); err != nil {
			return err
		}
		// The server may finish a statement that was cancelled, and nothing would drop the database.
		creating, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
		defer cancel()
		_, err = conn.Exec(creating, "CREATE DATABASE "+s.name+" TEMPLATE template0")
		return err
	})
	if err != nil {
		s.unlock(ctx)
		return nil, fmt.Errorf("create the scratch database: %w", err)
	}
	if err := s.furnish(ctx, logger, before); err != nil {
		return nil, errors.Join(err, s.drop(ctx))
	}
	return s, nil
}

func (s *scratch) furnish(ctx context.Context, logger *slog.Logger, before []string) error {
	var err error
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.config(poolForWatching)); err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	_, err = iusql.Up(ctx, iusql.Config{ConnConfig: s.config(1).ConnConfig, Logger: logger})
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout) // an interrupted migration leaves roles, too
	defer cancel()
	after, errRoles := roles(looking, s.pool)
	s.newRoles = slices.DeleteFunc(after, func(role string) bool { return slices.Contains(before, role) })
	if err := errors.Join(err, errRoles); err != nil {
		return err
	}
	return s.makeTemplate(ctx)
}

// config returns the server's config with the scratch database.
func (s *scratch) config(connections int) *pgxpool.Config {
	cfg := s.server.Copy()
	cfg.ConnConfig.Database = s.name
	cfg.MaxConns = int32(connections) //nolint:gosec // the flag has a bound
	cfg.MinConns = min(cfg.MinConns, cfg.MaxConns)
	return cfg
}

func (s *scratch) onServer(ctx context.Context, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, s.server.ConnConfig)
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

// exec runs a statement; what, a verb and its object, begins the error.
func (s *scratch) exec(ctx context.Context, what, sql string, args ...any) error {
	if _, err := s.pool.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// read reads one row; what begins the error.
func (s *scratch) read(ctx context.Context, what string, into []any, sql string, args ...any) error {
	if err := s.pool.QueryRow(ctx, sql, args...).Scan(into...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// makeTemplate opens the gates and makes a template of 12 pieces, from 1,000.
func (s *scratch) makeTemplate(ctx context.Context) error {
	err := s.exec(ctx, "make pieces", `
		UPDATE public.dot_config SET value = 'true'
		WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled');
		INSERT INTO public.iu_piece (piece_key, body, created_by)
		SELECT 'bench/' || n, pg_catalog.jsonb_build_object('text', 'Piece ' || n), 'iuworker-bench'
		FROM pg_catalog.generate_series(1, 1000) AS n`)
	if err != nil {
		return err
	}
	err = s.read(ctx, "compose the template", []any{&s.template}, `
		SELECT public.fn_iu_compose('bench-template', 'Bench', pg_catalog.array_agg(p.id ORDER BY p.id), 'iuworker-bench') ->> 'collection_id'
		FROM (SELECT id FROM public.iu_piece ORDER BY id LIMIT $1) AS p`, pieces)
	if err != nil {
		return err
	}
	return s.exec(ctx, "mark the template", "SELECT public.fn_iu_collection_mark_template($1, 'iuworker-bench')", s.template)
}

// drop drops the database, even if sessions are connected to it, and the roles that the migration created. It works after the
// end of ctx, too.
func (s *scratch) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	defer s.unlock(ctx)
	if s.pool != nil {
		s.pool.Close()
	}
	err := s.onServer(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+s.name+" WITH (FORCE)"); err != nil {
			return err
		}
		for _, role := range s.newRoles {
			_, err := conn.Exec(ctx, "DROP ROLE IF EXISTS "+pgx.Identifier{role}.Sanitize())
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && pgErr.Code == pgerrcode.DependentObjectsStillExist {
				continue // a database that was migrated since needs it
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return &notDroppedError{s.name, err}
	}
	return nil
}

// cleanUp emits what the references left for the emitter, vacuums and analyzes the tables, and makes a checkpoint if the login
// may.
func (s *scratch) cleanUp(ctx context.Context) error {
	for emitted := -1; emitted != 0; {
		if err := s.read(ctx, "emit what is left", []any{&emitted}, "SELECT emitted FROM iu_outbox.emit(10000)"); err != nil {
			return err
		}
	}
	for _, table := range []string{
		"iu_outbox.event", "iu_outbox.emission", "iu_outbox.emission_counter", iusql.JobTable,
		"public.iu_piece_collection", "public.iu_piece_membership",
		"public.iu_collection_template_instance_lineage", "public.iu_auto_instantiate_event_log",
	} {
		if err := s.exec(ctx, "vacuum "+table, "VACUUM (ANALYZE) "+table); err != nil {
			return err
		}
	}
	_, err := s.pool.Exec(ctx, "CHECKPOINT")
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == pgerrcode.InsufficientPrivilege {
		return nil
	}
	return err
}
