package doctor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	iusql "github.com/iu-core/iuworker/sql"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
)

// Config configures Doctor. The zero value of a field means its default.
type Config struct {
	// Pool is the database. Required. It need not be reachable.
	Pool *pgxpool.Pool

	// Direct is where a worker listens. Nil means the pool's address.
	Direct *pgx.ConnConfig

	// Explain makes a sentence of an error. Default: its own text.
	Explain func(error) string

	// Timeout bounds all checks together. Default 10 s.
	Timeout time.Duration

	// LongTransaction is how long a transaction may be open, or prepared, before it is worth a word; idle ones a fifth
	// of it. Default 5 min.
	LongTransaction time.Duration

	// PoolSize is how many connections the pool of a worker has. Default dbsession.DefaultPoolSize.
	PoolSize int

	// LongWait is how long a session may wait for a lock before it is worth a word. Default 5 s.
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

const (
	detailsShown = 5
	checkTimeout = 2 * time.Second // of one check's statements
	checksAtOnce = 4
)

// examination is a run of Doctor.
type examination struct {
	cfg Config
}

// step is a check, and what it needs to be asked.
type step struct {
	check string
	ask   func(*examination, context.Context) (Check, error)
	needs need
}

// need is what must be there for a check to be asked.
type need int

const (
	needsNothing need = iota
	needsServer       // a connection
	needsSchema       // the worker's schema
)

var checks = []step{
	{"connection", (*examination).connection, needsNothing},
	{"installation", (*examination).installation, needsSchema},
	{"server", (*examination).server, needsServer},
	{"clock", (*examination).clock, needsServer},
	{"direct", (*examination).direct, needsServer},
	{"times", (*examination).times, needsSchema},
	{"settings", (*examination).settings, needsServer},
	{"collations", (*examination).collations, needsServer},
	{"sessions", (*examination).sessions, needsServer},
	{"pool", (*examination).pool, needsSchema},
	{"schema", (*examination).schema, needsServer},
	{"row security", (*examination).rowSecurity, needsServer},
	{"privileges", (*examination).privileges, needsSchema},
	{"logins", (*examination).logins, needsServer},
	{"foreign grants", (*examination).foreignGrants, needsServer},
	{"triggers", (*examination).triggers, needsSchema},
	{"sequences", (*examination).sequences, needsSchema},
	{"indexes", (*examination).indexes, needsServer},
	{"conformance", (*examination).conformance, needsServer},
	{"event type", (*examination).eventType, needsSchema},
	{"route", (*examination).route, needsSchema},
	{"gates", (*examination).gates, needsSchema},
	{"listener", (*examination).listener, needsServer},
	{"notifications", (*examination).notifications, needsServer},
	{"payload", (*examination).payload, needsSchema},
	{"listeners", (*examination).listeners, needsServer},
	{"workers", (*examination).workers, needsSchema},
	{"outbox", (*examination).outbox, needsSchema},
	{"jobs", (*examination).jobs, needsSchema},
	{"queues", (*examination).queues, needsSchema},
	{"retries", (*examination).retries, needsSchema},
	{"parked", (*examination).parked, needsSchema},
	{"dead letters", (*examination).deadLetters, needsSchema},
	{"emissions", (*examination).emissions, needsSchema},
	{"consumers", (*examination).consumers, needsSchema},
	{"locks", (*examination).locks, needsServer},
	{"transactions", (*examination).transactions, needsServer},
	{"prepared", (*examination).prepared, needsServer},
	{"slots", (*examination).slots, needsServer},
	{"replicas", (*examination).replicas, needsServer},
	{"horizon", (*examination).horizon, needsServer},
	{"vacuum", (*examination).vacuum, needsServer},
}

// Run looks at everything that has to be well for events to be composed, and says for what is not what to do. It
// changes nothing, is done within Timeout, and returns a report whatever state the database is in: what cannot be asked is
// skipped, with the reason.
func Run(ctx context.Context, cfg Config) Report {
	report := Report{At: time.Now(), Checks: make([]Check, len(checks))}
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.LongTransaction = cmp.Or(cfg.LongTransaction, 5*time.Minute)
	cfg.LongWait = cmp.Or(cfg.LongWait, 5*time.Second)
	if cfg.Explain == nil {
		cfg.Explain = error.Error
	}
	if cfg.Direct == nil {
		cfg.Direct = cfg.Pool.Config().ConnConfig
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	e := &examination{cfg: cfg}
	// The first two, in this order, say what the others can be asked.
	missing := map[need]string{}
	e.run(ctx, &report, missing, func(s step) bool { return s.needs == needsNothing })
	if report.Checks[0].Result == operate.HealthFail {
		missing[needsServer], missing[needsSchema] = "no connection", "no connection"
	} else if reason := e.schemaMissing(ctx); reason != "" {
		missing[needsSchema] = reason
	}
	e.run(ctx, &report, missing, func(s step) bool { return s.needs != needsNothing })
	report.Seconds = time.Since(report.At).Seconds()
	return report
}

// run asks the chosen checks, a few at once.
func (e *examination) run(ctx context.Context, report *Report, missing map[need]string, chosen func(step) bool) {
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, checksAtOnce)
	for i, step := range checks {
		if !chosen(step) {
			continue
		}
		if reason := missing[step.needs]; reason != "" {
			report.Checks[i] = skipped("%s", reason)
			report.Checks[i].Check = step.check
			continue
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			report.Checks[i] = e.check(ctx, step)
		})
	}
}

// check asks one check. Those that could not be asked say why; one that got no answer failed, since the worker's own
// questions get none either.
func (e *examination) check(ctx context.Context, step step) Check {
	found, err := step.ask(e, ctx)
	var pgErr *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &pgErr) && iusql.RefusedByRowSecurity(err):
		found = skipped("row security would hide rows: %s", pgErr.Message).so("see the check row security")
	case errors.As(err, &pgErr) && pgErr.Code == pgerrcode.InsufficientPrivilege:
		found = skipped("this login lacks a privilege: %s", pgErr.Message).
			so("run it as a login with the role iu_operator, and with pg_monitor for the checks of the server")
	case errors.As(err, &pgErr) && (pgErr.Code == pgerrcode.QueryCanceled || pgErr.Code == pgerrcode.LockNotAvailable):
		found = failed("no reply within %s: something holds a lock, or the server is overloaded", checkTimeout).
			so("the checks locks and transactions name the blocking sessions")
	case errors.Is(err, context.Canceled):
		found = skipped("it was interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		found = skipped("there was no time left")
	case errors.As(err, &pgErr) && slices.Contains(otherSchema, pgErr.Code):
		found = skipped("the schema does not fit this program: %s", pgErr.Message).so("", migrateUp)
	default:
		found = skipped("it could not be checked: %s", e.cfg.Explain(err))
	}
	found.Check = step.check
	return found
}

// otherSchema are the errors of asking for what is not there.
var otherSchema = []string{
	pgerrcode.UndefinedTable, pgerrcode.UndefinedColumn, pgerrcode.UndefinedFunction, pgerrcode.InvalidSchemaName,
	pgerrcode.UndefinedObject,
}

const migrateUp = "iuworker migrate up"

// schemaMissing returns why the worker's schema cannot be asked; "" if it can.
func (e *examination) schemaMissing(ctx context.Context) string {
	var missing []string
	err := e.row(ctx, []any{&missing}, `
		SELECT COALESCE(pg_catalog.array_agg(s.name) FILTER (WHERE n.oid IS NULL), '{}')
		FROM pg_catalog.unnest(ARRAY['iu_outbox', 'iu_river']) AS s (name)
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = s.name`)
	switch {
	case err != nil:
		return "unknown whether the schema exists: " + e.cfg.Explain(err)
	case len(missing) > 0:
		return "there is no schema " + strings.Join(missing, " and no ")
	}
	return ""
}
