package dbsession

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Prepare makes the connections of cfg and its copies begin with our settings, and end with the first error that says that the
// server is read-only. A second call does nothing. It replaces OnPgError; a given AfterConnect runs after ours.
func Prepare(cfg *pgx.ConnConfig) {
	if prepared(cfg) {
		return
	}
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = map[string]string{}
	}
	p := &preparation{address: strip(cfg.RuntimeParams)}
	cfg.OnPgError = goOn
	next := cfg.AfterConnect
	plain := cfg.Config.Copy()
	plain.AfterConnect = nil
	cfg.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		plain := *plain
		plain.Database, plain.User, plain.Password = cfg.Database, cfg.User, cfg.Password
		if err := p.begin(ctx, &plain, conn); err != nil {
			return err
		}
		if next != nil {
			return next(ctx, conn)
		}
		return nil
	}
}

// prepared reports whether cfg is prepared. Functions cannot be compared, but the addresses of their code can.
func prepared(cfg *pgx.ConnConfig) bool {
	return cfg.OnPgError != nil && reflect.ValueOf(cfg.OnPgError).Pointer() == reflect.ValueOf(goOn).Pointer()
}

// Prepared returns a prepared copy of cfg.
func Prepared(cfg *pgx.ConnConfig) *pgx.ConnConfig {
	cfg = cfg.Copy()
	Prepare(cfg)
	return cfg
}

// DefaultPoolSize is how many connections the pool of a worker has, unless --pool-size says otherwise.
const DefaultPoolSize = 20

const (
	lifetime       = 10 * time.Minute
	lifetimeJitter = time.Minute
)

// PreparePool prepares the connections of a pool. They live for about 10 minutes unless the address says otherwise, so that
// they follow a name that changes. When one of them meets a server that has become read-only, all are replaced before they are
// used again: there may be another primary. A second call does nothing. It replaces the hooks of cfg.
func PreparePool(cfg *pgxpool.Config) {
	if prepared(cfg.ConnConfig) {
		return
	}
	Prepare(cfg.ConnConfig)
	if cfg.MaxConnLifetime == time.Hour && !strings.Contains(cfg.ConnString(), "pool_max_conn_lifetime") { // pgx's default
		cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = lifetime-lifetimeJitter, lifetimeJitter
	}
	var generation atomic.Int64
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.PgConn().CustomData()[generationKey] = generation.Load()
		conn.PgConn().CustomData()[leaveKey] = func() { generation.Add(1) }
		return nil
	}
	cfg.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) {
		return conn.PgConn().CustomData()[generationKey] == generation.Load(), nil
	}
	cfg.AfterRelease = func(conn *pgx.Conn) bool {
		leave := became(conn.PgConn())
		if leave {
			generation.Add(1)
		}
		return !leave
	}
}

const (
	generationKey  = "iuworker.generation"
	leaveKey       = "iuworker.leave"
	readOnlyKey    = "iuworker.read_only"
	multiplexedKey = "iuworker.multiplexed"
)

// goOn reports whether a connection stays open after an error of its server. It does not after a fatal error, nor after a write
// that a read-only server refused: if the server behind a proxy became a standby, a new connection leads to the primary.
func goOn(conn *pgconn.PgConn, err *pgconn.PgError) bool {
	if err.Code != pgerrcode.ReadOnlySQLTransaction {
		return !strings.EqualFold(err.Severity, "FATAL")
	}
	if leave, ok := conn.CustomData()[leaveKey].(func()); ok {
		leave()
	}
	return false
}

// ReadOnly reports whether the server last said that it is read-only. A server that becomes so says it with its next reply. A
// pooler does not forward it.
func ReadOnly(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("in_hot_standby") == "on" || conn.ParameterStatus("default_transaction_read_only") == "on"
}

// became reports whether the server has become read-only since the connection was opened. A server that already was is a choice:
// a subscriber may read from a standby.
func became(conn *pgconn.PgConn) bool {
	before, known := conn.CustomData()[readOnlyKey].(bool)
	return known && !before && ReadOnly(conn)
}

// Writable is a query that returns whether this session can write.
const Writable = "SELECT NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('transaction_read_only') = 'off'"

// Multiplexed reports whether a prepared connection goes through a transaction pooler. Then others use its session, too, and
// it must leave no setting, lock or LISTEN there.
func Multiplexed(conn *pgconn.PgConn) bool {
	multiplexed, _ := conn.CustomData()[multiplexedKey].(bool)
	return multiplexed
}

// preparation is what Prepare found out. All copies of its config share it.
type preparation struct {
	address []setting
	pooler  pooler
}

func (p *preparation) begin(ctx context.Context, plain *pgconn.Config, conn *pgconn.PgConn) error {
	pid, err := p.set(ctx, conn, conn.PID())
	if err != nil {
		return err
	}
	if pid != conn.PID() {
		sessions, err := p.pooler.sessions(ctx, plain, conn)
		if err != nil {
			return fmt.Errorf("find out what kind of pooler is in between: %w", err)
		}
		conn.CustomData()[multiplexedKey] = !sessions
		if sessions {
			if _, err := p.set(ctx, conn, 0); err != nil {
				return err
			}
		}
	}
	conn.CustomData()[readOnlyKey] = ReadOnly(conn)
	return nil
}

const beginTries = 10

// set sets what is to be set if the server process is pid, and returns the process that it reached.
func (p *preparation) set(ctx context.Context, conn *pgconn.PgConn, pid uint32) (uint32, error) {
	got, err := ask(ctx, conn, begin(pid, p.address))
	// A timeout of some milliseconds can strike before it is lifted. With exit_on_error it ends the session.
	for try := 1; hasCode(err, pgerrcode.QueryCanceled) && !conn.IsClosed() && try < beginTries; try++ {
		got, err = ask(ctx, conn, begin(pid, p.address))
	}
	switch {
	case hasCode(err, pgerrcode.InsufficientPrivilege):
		return 0, fmt.Errorf("begin a session with the settings that iuworker needs (this login or database has others, and the login "+
			"may not change them: ALTER ROLE or ALTER DATABASE ... RESET): %w", err)
	case err != nil:
		return 0, fmt.Errorf("begin a session with the settings that iuworker needs: %w", err)
	}
	return got, nil
}

// ReadOnlyError reports whether an error says that the server is read-only.
func ReadOnlyError(err error) bool { return hasCode(err, pgerrcode.ReadOnlySQLTransaction) }

// WayOut returns what to do about an error that is due to a pooler or a read-only server; "" for others.
func WayOut(err error) string {
	switch {
	case hasCode(err, pgerrcode.DuplicatePreparedStatement), hasCode(err, pgerrcode.InvalidSQLStatementName):
		return "prepared statements do not work through this pooler: add default_query_exec_mode=cache_describe to the address"
	case ReadOnlyError(err):
		return "this server is a standby or read only: give the address of the primary"
	default:
		return ""
	}
}

func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}
