package iusql

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/dbsession"
)

// A session is the one connection of a run. The migrations' lock lasts as long as the connection. Not safe for
// concurrent use.
type session struct {
	cfg  Config
	conn *pgx.Conn
}

// closeTimeout limits how long closing a connection may take.
const closeTimeout = 5 * time.Second

// inSession calls fn with a session that ends when fn returns.
func inSession(ctx context.Context, cfg Config, fn func(s *session) error) error {
	cfg = cfg.withDefaults()
	if cfg.ConnConfig == nil {
		return fail(ErrUsage, "iusql: Config.ConnConfig must be given")
	}
	config := cfg.ConnConfig.Copy()
	// Statements are not cached, because the schema changes under them.
	config.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	dbsession.Prepare(config)
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { logNotice(cfg.Logger, notice) }
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = conn.Close(ctx) // everything is committed
	}()
	if _, err := conn.Exec(ctx, settings(cfg.LockTimeout)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return fn(&session{cfg: cfg, conn: conn})
}

// settings returns the settings in which a session that migrates differs from our others, whatever the connection string says.
func settings(lockTimeout time.Duration) string {
	return fmt.Sprintf(`SET statement_timeout = 0;
SET lock_timeout = '%dms';
SET idle_in_transaction_session_timeout = 0;
SET idle_session_timeout = 0;
SELECT pg_catalog.set_config(s.name, '0', false) FROM pg_catalog.pg_settings AS s WHERE s.name = 'transaction_timeout'; -- from PostgreSQL 17 on
`, lockTimeout.Milliseconds())
}

func logNotice(logger *slog.Logger, notice *pgconn.Notice) {
	level := slog.LevelInfo
	switch notice.SeverityUnlocalized {
	case "WARNING":
		level = slog.LevelWarn
	case "DEBUG", "LOG":
		level = slog.LevelDebug
	}
	attributes := []slog.Attr{}
	if notice.Detail != "" {
		attributes = append(attributes, slog.String("detail", notice.Detail))
	}
	logger.LogAttrs(context.Background(), level, "Migration: the database says: "+notice.Message, attributes...)
}

// write runs fn in a transaction.
func (s *session) write(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.conn, fn)
}

// read runs fn in a transaction that changes nothing.
func (s *session) read(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, s.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, fn)
}

// state reads the state of the database.
func (s *session) state(ctx context.Context) (st *state, err error) {
	err = s.read(ctx, func(tx pgx.Tx) error {
		st, err = readState(ctx, tx)
		return err
	})
	return st, err
}

// collect returns the rows of a query. doing begins the text of its error.
func collect[T any](ctx context.Context, q Queryer, doing string, as pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, _ := q.Query(ctx, query, args...) // CollectRows returns its error
	all, err := pgx.CollectRows(rows, as)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return all, nil
}
