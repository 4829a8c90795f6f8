package iusql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/iu-core/iuworker/internal/dbsession"
)

// A session is the one connection on which a run happens: database/sql is allowed no second one, so that goose's
// transactions, our own and the lock share it. Not safe for concurrent use.
type session struct {
	cfg Config
	db  *sql.DB
	pid atomic.Uint32 // the server's process of the connection, 0 before there is one
}

func openSession(cfg Config) (*session, error) {
	cfg = cfg.withDefaults()
	if cfg.ConnConfig == nil {
		return nil, fail(ErrUsage, "iusql: Config.ConnConfig must be given")
	}
	config := cfg.ConnConfig.Copy()
	// Nothing is prepared and kept: the schema changes under our statements.
	config.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	dbsession.Prepare(config)
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { logNotice(cfg.Logger, notice) }
	s := &session{cfg: cfg}
	s.db = stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if !s.pid.CompareAndSwap(0, conn.PgConn().PID()) {
			// database/sql would go on with a new connection, which has no lock.
			return errors.New("the connection was lost, and with it the lock of this migration; run it again")
		}
		_, err := conn.Exec(ctx, settings(cfg.LockTimeout))
		return err
	}))
	s.db.SetMaxOpenConns(1)
	return s, nil
}

// settings are those in which a session that migrates differs from others of ours, whatever the address asks for.
func settings(lockTimeout time.Duration) string {
	return fmt.Sprintf(`SET statement_timeout = 0;
SET lock_timeout = '%dms';
SET idle_in_transaction_session_timeout = 0;
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

func (s *session) close() error { return s.db.Close() }

// do lends the connection out as pgx has it.
func (s *session) do(ctx context.Context, fn func(conn *pgx.Conn) error) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return conn.Raw(func(driverConn any) error { return fn(driverConn.(*stdlib.Conn).Conn()) })
}

// inTx runs fn in a transaction.
func (s *session) inTx(ctx context.Context, options pgx.TxOptions, fn func(tx pgx.Tx) error) error {
	return s.do(ctx, func(conn *pgx.Conn) error { return pgx.BeginTxFunc(ctx, conn, options, fn) })
}

// lock takes the migrations' lock for as long as the session is open: closing it gives the lock back, however it
// comes to be closed.
func (s *session) lock(ctx context.Context) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return s.locker().SessionLock(ctx, conn)
}

func (s *session) locker() sessionLocker {
	return sessionLocker{wait: s.cfg.Wait, logger: s.cfg.Logger}
}
