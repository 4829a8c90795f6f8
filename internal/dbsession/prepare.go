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

// Prepare makes the connections of cfg, and of its copies, begin with our settings, and end with the first error that says
// that the server takes no writes. A second call does nothing. It replaces OnPgError; AfterConnect is called after ours.
func Prepare(cfg *pgx.ConnConfig) {
	if prepared(cfg) {
		return
	}
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = map[string]string{}
	}
	p := &preparation{address: settle(cfg.RuntimeParams)}
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

// prepared: functions can be told apart by where their code is.
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

// PreparePool is Prepare for the connections of a pool. They live for 10 minutes at most, unless the address names another
// time, so that they follow a name that leads elsewhere by then. As soon as one of them meets a server that takes no writes,
// all are replaced before they are used again: there may be another primary by now. A second call does nothing.
func PreparePool(cfg *pgxpool.Config) {
	if prepared(cfg.ConnConfig) {
		return
	}
	Prepare(cfg.ConnConfig)
	if cfg.MaxConnLifetime == time.Hour && !strings.Contains(cfg.ConnString(), "pool_max_conn_lifetime") { // pgx's default
		cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter = lifetime-lifetimeJitter, lifetimeJitter
	}
	var generation atomic.Int64
	after, prepare, release := cfg.AfterConnect, cfg.PrepareConn, cfg.AfterRelease
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		conn.PgConn().CustomData()[generationKey] = generation.Load()
		conn.PgConn().CustomData()[leaveKey] = func() { generation.Add(1) }
		if after != nil {
			return after(ctx, conn)
		}
		return nil
	}
	cfg.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		if conn.PgConn().CustomData()[generationKey] != generation.Load() {
			return false, nil
		}
		if prepare != nil {
			return prepare(ctx, conn)
		}
		return true, nil
	}
	cfg.AfterRelease = func(conn *pgx.Conn) bool {
		if became(conn.PgConn()) {
			generation.Add(1)
			return false
		}
		return release == nil || release(conn)
	}
}

const (
	generationKey  = "iuworker.generation"
	leaveKey       = "iuworker.leave"
	readOnlyKey    = "iuworker.read_only"
	multiplexedKey = "iuworker.multiplexed"
)

// goOn reports whether a connection goes on after an error of its server. It ends with the session, and with the first
// write that the server does not take: sockets stay open when a server becomes a standby behind a proxy, and each
// new connection goes where the primary is now.
func goOn(conn *pgconn.PgConn, err *pgconn.PgError) bool {
	if err.Code != pgerrcode.ReadOnlySQLTransaction {
		return !strings.EqualFold(err.Severity, "FATAL")
	}
	if leave, ok := conn.CustomData()[leaveKey].(func()); ok {
		leave()
	}
	return false
}

// ReadOnly reports whether the server said last that transactions cannot write here: it says so with the reply to the
// next statement. A pooler does not pass it on.
func ReadOnly(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("in_hot_standby") == "on" || conn.ParameterStatus("default_transaction_read_only") == "on"
}

// became reports whether the server has become read-only since the connection was opened. One that was before is a choice:
// a subscriber may read from a standby.
func became(conn *pgconn.PgConn) bool {
	before, known := conn.CustomData()[readOnlyKey].(bool)
	return known && !before && ReadOnly(conn)
}

// Writable is a query for one boolean: whether this session can write.
const Writable = "SELECT NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('transaction_read_only') = 'off'"

// Multiplexed reports whether a connection goes through a transaction pooler: its session is not its own, and nothing may be
// left there, be it a setting, a lock or a LISTEN. The connection must be a prepared one.
func Multiplexed(conn *pgconn.PgConn) bool {
	multiplexed, _ := conn.CustomData()[multiplexedKey].(bool)
	return multiplexed
}

// preparation is what one Prepare found out, shared by the copies of its config.
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

func timedOut(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == pgerrcode.QueryCanceled
}

// set sets what is to be set for the process pid, and returns the process that is there.
func (p *preparation) set(ctx context.Context, conn *pgconn.PgConn, pid uint32) (uint32, error) {
	results, err := conn.Exec(ctx, begin(pid, p.address)).ReadAll()
	for try := 1; timedOut(err) && try < beginTries; try++ { // a timeout of some milliseconds, before it was lifted
		results, err = conn.Exec(ctx, begin(pid, p.address)).ReadAll()
	}
	if err != nil {
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == pgerrcode.InsufficientPrivilege {
			return 0, fmt.Errorf("begin a session with the settings that iuworker needs (this login or database has others, and the login "+
				"may not change them: ALTER ROLE or ALTER DATABASE ... RESET): %w", err)
		}
		return 0, fmt.Errorf("begin a session with the settings that iuworker needs: %w", err)
	}
	return backend(results)
}
