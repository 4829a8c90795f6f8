package bench

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	scratchdb "github.com/iu-core/iuworker/internal/scratch"
	iusql "github.com/iu-core/iuworker/sql"
)

const namePrefix = "iuworker_bench_"

// scratch is a database to measure in.
type scratch struct{ *scratchdb.Database }

// createScratch creates a scratch database. If it fails, it leaves nothing behind.
func createScratch(ctx context.Context, server *pgxpool.Config, logger *slog.Logger) (*scratch, error) {
	database, err := scratchdb.Create(ctx, scratchdb.Config{Server: server, Prefix: namePrefix, Logger: logger})
	if err != nil {
		return nil, err
	}
	return &scratch{database}, nil
}

// cleanUp emits what the references left for the emitter, vacuums and analyzes the tables, and makes a checkpoint if the login
// may.
func (s *scratch) cleanUp(ctx context.Context) error {
	for emitted := -1; emitted != 0; {
		if err := s.Read(ctx, "emit what is left", []any{&emitted}, "SELECT emitted FROM iu_outbox.emit(10000)"); err != nil {
			return err
		}
	}
	for _, table := range []string{
		"iu_outbox.event", "iu_outbox.emission", "iu_outbox.emission_counter", iusql.JobTable,
		"public.iu_piece_collection", "public.iu_piece_membership",
		"public.iu_collection_template_instance_lineage", "public.iu_auto_instantiate_event_log",
	} {
		if err := s.Exec(ctx, "vacuum "+table, "VACUUM (ANALYZE) "+table); err != nil {
			return err
		}
	}
	_, err := s.Pool.Exec(ctx, "CHECKPOINT")
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == pgerrcode.InsufficientPrivilege {
		return nil
	}
	return err
}
