package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/names"
	iusql "github.com/iu-core/iuworker/sql"
)

const (
	namePrefix  = "iuworker_bench_"
	dropTimeout = time.Minute
	// poolForWatching is the size of the pool for the measuring itself.
	poolForWatching = 4
)

// scratch is a database to measure in.
type scratch struct {
	server   *pgxpool.Config
	name     string
	pool     *pgxpool.Pool
	template uuid.UUID
	newRoles []string // that the migration created
}

// createScratch creates a database, migrates it, opens its gates and makes a template. If it fails, it leaves nothing behind.
func createScratch(ctx context.Context, server *pgxpool.Config, logger *slog.Logger) (*scratch, error) {
	tag := make([]byte, 4)
	_, _ = rand.Read(tag) // never fails
	s := &scratch{server: server, name: namePrefix + hex.EncodeToString(tag)}
	var before []string
	err := s.onServer(ctx, func(conn *pgx.Conn) (err error) {
		if before, err = roles(ctx, conn); err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE DATABASE "+s.name+" TEMPLATE template0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create the scratch database: %w", err)
	}
	if err := s.furnish(ctx, logger, before); err != nil {
		return nil, errors.Join(err, s.drop(ctx))
	}
	return s, nil
}

func (s *scratch) furnish(ctx context.Context, logger *slog.Logger, before []string) error {
	_, err := iusql.Up(ctx, iusql.Config{ConnConfig: s.config(1).ConnConfig, Logger: logger})
	if err != nil {
		return err
	}
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.config(poolForWatching)); err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	err = s.onServer(ctx, func(conn *pgx.Conn) error {
		after, err := roles(ctx, conn)
		s.newRoles = slices.DeleteFunc(after, func(role string) bool { return slices.Contains(before, role) })
		return err
	})
	if err != nil {
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
func roles(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `
		SELECT r.rolname::text FROM pg_catalog.pg_roles AS r
		WHERE r.rolname = ANY ($1)`, names.Roles)
	if err != nil {
		return nil, fmt.Errorf("look for roles: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// makeTemplate opens the gates and makes a template of 12 pieces, in a substrate of 1,000.
func (s *scratch) makeTemplate(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE public.dot_config SET value = 'true'
		WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled');
		INSERT INTO public.iu_piece (piece_key, body, created_by)
		SELECT 'bench/' || n, pg_catalog.jsonb_build_object('text', 'Piece ' || n), 'iuworker-bench'
		FROM pg_catalog.generate_series(1, 1000) AS n`)
	if err != nil {
		return fmt.Errorf("make pieces: %w", err)
	}
	err = s.pool.QueryRow(ctx, `
		SELECT public.fn_iu_compose('bench-template', 'Bench', pg_catalog.array_agg(p.id ORDER BY p.id), 'iuworker-bench') ->> 'collection_id'
		FROM (SELECT id FROM public.iu_piece ORDER BY id LIMIT $1) AS p`, pieces).Scan(&s.template)
	if err != nil {
		return fmt.Errorf("compose the template: %w", err)
	}
	_, err = s.pool.Exec(ctx, "SELECT public.fn_iu_collection_mark_template($1, 'iuworker-bench')", s.template)
	if err != nil {
		return fmt.Errorf("mark the template: %w", err)
	}
	return nil
}

// drop drops the database, also if sessions are connected to it, and the roles that the migration created. It works after ctx has
// ended, too.
func (s *scratch) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
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
				continue // another database was migrated meanwhile, and needs it
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop the scratch database %s (drop it by hand): %w", s.name, err)
	}
	return nil
}

// leftovers returns a sentence with the databases of runs that were killed, "" if there are none.
func (s *scratch) leftovers(ctx context.Context) (string, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT d.datname::text FROM pg_catalog.pg_database AS d
		WHERE pg_catalog.starts_with(d.datname::text, $1) AND d.datname <> $2
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = d.datname)
		ORDER BY 1`, namePrefix, s.name)
	if err != nil {
		return "", fmt.Errorf("look for databases of earlier runs: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return "", err
	}
	return "Runs that were killed left databases behind; to drop them, run: DROP DATABASE " +
		strings.Join(names, "; DROP DATABASE ") + ";", nil
}

// settle brings the database to rest: it emits what the references left for the emitter, vacuums and analyses the tables, and makes
// a checkpoint if the login may.
func (s *scratch) settle(ctx context.Context) error {
	for emitted := -1; emitted != 0; {
		if err := s.pool.QueryRow(ctx, "SELECT emitted FROM iu_outbox.emit(10000)").Scan(&emitted); err != nil {
			return fmt.Errorf("emit what is left: %w", err)
		}
	}
	for _, table := range []string{
		"iu_outbox.event", "iu_outbox.emission", "iu_outbox.emission_counter", iusql.JobTable,
		"public.iu_piece_collection", "public.iu_piece_membership",
		"public.iu_collection_template_instance_lineage", "public.iu_auto_instantiate_event_log",
	} {
		if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE) "+table); err != nil {
			return fmt.Errorf("vacuum %s: %w", table, err)
		}
	}
	_, err := s.pool.Exec(ctx, "CHECKPOINT")
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == pgerrcode.InsufficientPrivilege {
		return nil
	}
	return err
}
