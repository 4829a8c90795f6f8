package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/replica"
	iusql "github.com/iu-core/iuworker/sql"
)

// Config configures Run. The zero value of a field means its default.
type Config struct {
	// Pool is the database. Required. It need not be reachable.
	Pool *pgxpool.Pool

	// Replica reads a standby of the database. Default: there is none.
	Replica *replica.Reader

	// Direct is the address at which workers listen. Default: the pool's.
	Direct *pgx.ConnConfig

	// Explain returns an error as a sentence. Default: the error's text.
	Explain func(error) string

	// Timeout bounds all checks together. Default 10 s.
	Timeout time.Duration

	// StatementTimeout bounds each statement of a check: one that takes longer fails the check. The first connection may take twice as
	// long, and the notification that the check listener sends to itself may take as long, or listen.ProbeTimeout if that is longer.
	// Default 2 s.
	StatementTimeout time.Duration

	// LongTransaction is how long a transaction may be open, or prepared, before it is reported. An idle one has a fifth of
	// that. Default 5 min.
	LongTransaction time.Duration

	// PoolSize is how many connections the pool of a worker has. Default dbsession.DefaultPoolSize.
	PoolSize int

	// LongWait is how long a session may wait for a lock before it is reported. Default 5 s.
	LongWait time.Duration
}

// Report is what the checks found, in an order in which they can be worked through.
type Report struct {
	At      time.Time `json:"at"` // by this machine's clock
	Seconds float64   `json:"seconds"`
	Checks  []Check   `json:"checks"`
}

// Count returns how many checks had a result.
func (r Report) Count(result operate.Health) (n int) {
	for _, check := range r.Checks {
		if check.Result == result {
			n++
		}
	}
	return n
}

// OK reports whether no check failed.
func (r Report) OK() bool { return r.Count(operate.HealthFail) == 0 }

// Groups of checks.
const (
	GroupServer        = "Server"
	GroupSchema        = "Schema and privileges"
	GroupFlow          = "Flow of events"
	GroupNotifications = "Notifications"
	GroupLoad          = "Load and clean-up"
)

// Groups returns the groups of checks in the order in which they are shown.
func Groups() []string {
	return []string{GroupFlow, GroupNotifications, GroupServer, GroupSchema, GroupLoad}
}

// need is what a check needs to run.
type need int

const (
	needsNothing    need = iota
	needsConnection      // the database can be reached; the check opens its own sessions
	needsServer          // a transaction
	needsSchema          // a transaction, and the worker's schema
)

// checks are all checks, in the order of the report. run gets a read-only transaction if the check needs a server or a schema,
// else nil. If run returns an error, the check was skipped, or failed if the server did not reply.
var checks = []struct {
	name, group string
	needs       need
	run         func(e *examination, ctx context.Context, tx pgx.Tx) (Check, error)
}{
	{"connection", GroupServer, needsNothing, (*examination).connection},
	{"installation", GroupSchema, needsSchema, (*examination).installation},
	{"server", GroupServer, needsServer, (*examination).server},
	{"clock", GroupServer, needsServer, (*examination).clock},
	{"standby", GroupServer, needsConnection, (*examination).standby},
	{"direct", GroupServer, needsServer, (*examination).direct},
	{"times", GroupServer, needsSchema, (*examination).times},
	{"settings", GroupServer, needsServer, (*examination).settings},
	{"collations", GroupSchema, needsServer, (*examination).collations},
	{"sessions", GroupServer, needsServer, (*examination).sessions},
	{"pool", GroupServer, needsSchema, (*examination).pool},
	{"schema", GroupSchema, needsServer, (*examination).schema},
	{"row security", GroupSchema, needsServer, (*examination).rowSecurity},
	{"privileges", GroupSchema, needsSchema, (*examination).privileges},
	{"logins", GroupSchema, needsServer, (*examination).logins},
	{"foreign grants", GroupSchema, needsServer, (*examination).foreignGrants},
	{"triggers", GroupSchema, needsSchema, (*examination).triggers},
	{"sequences", GroupSchema, needsSchema, (*examination).sequences},
	{"indexes", GroupSchema, needsServer, (*examination).indexes},
	{"conformance", GroupSchema, needsServer, (*examination).conformance},
	{"event type", GroupFlow, needsSchema, (*examination).eventType},
	{"route", GroupFlow, needsSchema, (*examination).route},
	{"gates", GroupFlow, needsSchema, (*examination).gates},
	{"composing", GroupFlow, needsSchema, (*examination).composing},
	{"listener", GroupNotifications, needsConnection, (*examination).listener},
	{"notifications", GroupNotifications, needsServer, (*examination).notifications},
	{"payload", GroupNotifications, needsSchema, (*examination).payload},
	{"listeners", GroupNotifications, needsServer, (*examination).listeners},
	{"workers", GroupFlow, needsSchema, (*examination).workers},
	{"outbox", GroupFlow, needsSchema, (*examination).outbox},
	{"jobs", GroupFlow, needsSchema, (*examination).jobs},
	{"queues", GroupFlow, needsSchema, (*examination).queues},
	{"retries", GroupFlow, needsSchema, (*examination).retries},
	{"parked", GroupFlow, needsSchema, (*examination).parked},
	{"dead letters", GroupFlow, needsSchema, (*examination).deadLetters},
	{"emissions", GroupFlow, needsSchema, (*examination).emissions},
	{"consumers", GroupFlow, needsSchema, (*examination).consumers},
	{"locks", GroupLoad, needsServer, (*examination).locks},
	{"transactions", GroupLoad, needsServer, (*examination).transactions},
	{"prepared", GroupLoad, needsServer, (*examination).prepared},
	{"slots", GroupLoad, needsServer, (*examination).slots},
	{"replicas", GroupLoad, needsServer, (*examination).replicas},
	{"horizon", GroupLoad, needsServer, (*examination).horizon},
	{"vacuum", GroupLoad, needsServer, (*examination).vacuum},
}

const checksAtOnce = 4

// examination is one call of Run.
type examination struct {
	cfg      Config
	database string // its name
	// missing is why checks with a need cannot run.
	missing map[need]string
}

// Run checks everything that events need to be composed. It changes nothing, ends within Timeout, and returns a report in any
// case: a check that cannot run is skipped, with the reason.
func Run(ctx context.Context, cfg Config) Report {
	report := Report{At: time.Now(), Checks: make([]Check, len(checks))}
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.StatementTimeout = cmp.Or(cfg.StatementTimeout, 2*time.Second)
	cfg.LongTransaction = cmp.Or(cfg.LongTransaction, 5*time.Minute)
	cfg.LongWait = cmp.Or(cfg.LongWait, 5*time.Second)
	cfg.PoolSize = cmp.Or(cfg.PoolSize, dbsession.DefaultPoolSize)
	if cfg.Explain == nil {
		cfg.Explain = error.Error
	}
	if cfg.Direct == nil {
		cfg.Direct = cfg.Pool.Config().ConnConfig
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	e := &examination{cfg: cfg, missing: map[need]string{}}
	report.Checks[0] = e.check(ctx, 0) // the others need the connection
	if report.Checks[0].Result == operate.HealthFail {
		e.missing[needsConnection], e.missing[needsServer], e.missing[needsSchema] = "no connection", "no connection", "no connection"
	} else {
		e.missing[needsSchema] = e.readDatabase(ctx)
	}
	var others errgroup.Group
	others.SetLimit(checksAtOnce)
	for i := 1; i < len(checks); i++ {
		others.Go(func() error {
			report.Checks[i] = e.check(ctx, i)
			return nil
		})
	}
	_ = others.Wait() // none returns an error
	report.Seconds = time.Since(report.At).Seconds()
	return report
}

// readDatabase reads the database's name, and returns why the worker's schema cannot be read; "" if it can.
func (e *examination) readDatabase(ctx context.Context) string {
	var missing []string
	err := e.read(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT pg_catalog.current_database(), COALESCE(pg_catalog.array_agg(s.name) FILTER (WHERE n.oid IS NULL), '{}')
			FROM pg_catalog.unnest(ARRAY['iu_outbox', 'iu_river']) AS s (name)
			LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = s.name`).Scan(&e.database, &missing)
	})
	switch {
	case err != nil:
		return "unknown whether the schema exists: " + e.cfg.Explain(err)
	case len(missing) > 0:
		return "there is no schema " + strings.Join(missing, " and no ")
	}
	return ""
}

// otherSchema are the errors of reading a table, column or function that does not exist.
var otherSchema = []string{
	pgerrcode.UndefinedTable, pgerrcode.UndefinedColumn, pgerrcode.UndefinedFunction, pgerrcode.InvalidSchemaName,
	pgerrcode.UndefinedObject,
}

// check runs a check. If the server does not reply, the check failed: the worker's statements get no reply either.
func (e *examination) check(ctx context.Context, number int) (found Check) {
	check := checks[number]
	defer func() { found.Name = check.name }()
	if reason := e.missing[check.needs]; reason != "" {
		return skipped("%s", reason)
	}
	var err error
	if check.needs < needsServer {
		found, err = check.run(e, ctx, nil)
	} else {
		err = e.read(ctx, func(tx pgx.Tx) (err error) {
			found, err = check.run(e, ctx, tx)
			return err
		})
	}
	pgErr := &pgconn.PgError{} // without a code if err has none
	errors.As(err, &pgErr)
	switch code := pgErr.Code; {
	case err == nil:
		return found
	case iusql.RefusedByRowSecurity(err):
		return skipped("row security would hide rows: %s", pgErr.Message).so("see the check row security")
	case code == pgerrcode.InsufficientPrivilege:
		return skipped("this login lacks a privilege: %s", pgErr.Message).
			so("run it as a login with the role iu_operator, and with pg_monitor for the checks of the server")
	case code == pgerrcode.QueryCanceled || code == pgerrcode.LockNotAvailable:
		return failed("no reply within %s: something holds a lock, or the server is overloaded", e.cfg.StatementTimeout).
			so("the checks locks and transactions name the blocking sessions")
	case errors.Is(err, context.Canceled):
		return skipped("it was interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		return skipped("there was no time left")
	case slices.Contains(otherSchema, code):
		return skipped("the schema does not fit this program: %s", pgErr.Message).so("", migrateUp)
	}
	return skipped("it could not be checked: %s", e.cfg.Explain(err))
}

// read runs do in a read-only transaction whose statements the server cancels after StatementTimeout.
func (e *examination) read(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, e.cfg.Pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', $1, true),
				pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('row_security', 'off', true)`,
			fmt.Sprint(e.cfg.StatementTimeout.Milliseconds()))
		if err != nil {
			return fmt.Errorf("set timeouts: %w", err)
		}
		return do(tx)
	})
}

// structs reads rows, whose columns are the fields of T in their order.
func structs[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]T, error) {
	return operate.Collect(ctx, tx, pgx.RowToStructByPos[T], sql, args...)
}

// texts reads rows of one text each.
func texts(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]string, error) {
	return operate.Collect(ctx, tx, pgx.RowTo[string], sql, args...)
}
