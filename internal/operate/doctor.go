package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	iusql "github.com/iu-core/iuworker/sql"
)

// Health is how a check of the doctor went.
type Health string

// What a check can find.
const (
	HealthOK      Health = "ok"
	HealthWarn    Health = "warn"    // it works; somebody should look
	HealthFail    Health = "fail"    // it does not work, or will not for long
	HealthSkipped Health = "skipped" // it could not be asked; Says tells why
)

// DoctorConfig configures Doctor. The zero value of a field means its default.
type DoctorConfig struct {
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

	// PoolSize is how many connections the pool of a worker has. Default 20, as a worker's.
	PoolSize int

	// LongWait is how long a session may wait for a lock before it is worth a word. Default 5 s.
	LongWait time.Duration
}

// DoctorReport is what the checks found, in an order in which they can be worked through.
type DoctorReport struct {
	At      time.Time     `json:"at"` // by this machine's clock
	Seconds float64       `json:"seconds"`
	Checks  []DoctorCheck `json:"checks"`
}

// Count returns how many checks had a result.
func (r DoctorReport) Count(result Health) (n int) {
	for _, check := range r.Checks {
		if check.Result == result {
			n++
		}
	}
	return n
}

// OK reports whether no check failed.
func (r DoctorReport) OK() bool { return r.Count(HealthFail) == 0 }

// DoctorCheck is what one check found.
type DoctorCheck struct {
	Check    string   `json:"check"`
	Result   Health   `json:"result"`
	Says     string   `json:"says"`               // a sentence
	Details  []string `json:"details,omitempty"`  // the first of what it is about
	WayOut   string   `json:"way_out,omitempty"`  // if something is wrong
	Commands []string `json:"commands,omitempty"` // to run, in this order
	Next     string   `json:"next,omitempty"`     // Commands, as one line for a shell
}

func fine(format string, args ...any) DoctorCheck {
	return DoctorCheck{Result: HealthOK, Says: fmt.Sprintf(format, args...)}
}

func warn(format string, args ...any) DoctorCheck {
	return DoctorCheck{Result: HealthWarn, Says: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) DoctorCheck {
	return DoctorCheck{Result: HealthFail, Says: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) DoctorCheck {
	return DoctorCheck{Result: HealthSkipped, Says: fmt.Sprintf(format, args...)}
}

// so adds the way out and the commands to run; "" is none.
func (c DoctorCheck) so(wayOut string, commands ...string) DoctorCheck {
	c.WayOut = wayOut
	c.Commands = slices.DeleteFunc(slices.Clone(commands), func(command string) bool { return command == "" })
	c.Next = strings.Join(c.Commands, " && ")
	return c
}

// with adds the first details.
func (c DoctorCheck) with(details []string) DoctorCheck {
	c.Details = details[:min(len(details), doctorDetails)]
	return c
}

// worse returns the graver of two results, the first one if they are alike.
func (c DoctorCheck) worse(other DoctorCheck) DoctorCheck {
	gravity := []Health{HealthOK, HealthSkipped, HealthWarn, HealthFail}
	if slices.Index(gravity, other.Result) > slices.Index(gravity, c.Result) {
		return other
	}
	return c
}

const (
	doctorDetails = 5
	checkTimeout  = 2 * time.Second // of one check's statements
	checksAtOnce  = 4
)

// examination is a run of Doctor.
type examination struct {
	cfg DoctorConfig
}

// doctorStep is a check, and what it needs to be asked.
type doctorStep struct {
	check string
	ask   func(*examination, context.Context) (DoctorCheck, error)
	needs need
}

// need is what must be there for a check to be asked.
type need int

const (
	needsNothing need = iota
	needsServer       // a connection
	needsSchema       // the worker's schema
)

var doctorSteps = []doctorStep{
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

// Doctor looks at everything that has to be well for events to be composed, and says for what is not what to do. It
// changes nothing, is done within Timeout, and returns a report whatever state the database is in: what cannot be asked is
// skipped, with the reason.
func Doctor(ctx context.Context, cfg DoctorConfig) DoctorReport {
	report := DoctorReport{At: time.Now(), Checks: make([]DoctorCheck, len(doctorSteps))}
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
	e.run(ctx, &report, missing, func(s doctorStep) bool { return s.needs == needsNothing })
	if report.Checks[0].Result == HealthFail {
		missing[needsServer], missing[needsSchema] = "no connection", "no connection"
	} else if reason := e.schemaMissing(ctx); reason != "" {
		missing[needsSchema] = reason
	}
	e.run(ctx, &report, missing, func(s doctorStep) bool { return s.needs != needsNothing })
	report.Seconds = time.Since(report.At).Seconds()
	return report
}

// run asks the chosen checks, a few at once.
func (e *examination) run(ctx context.Context, report *DoctorReport, missing map[need]string, chosen func(doctorStep) bool) {
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, checksAtOnce)
	for i, step := range doctorSteps {
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
func (e *examination) check(ctx context.Context, step doctorStep) DoctorCheck {
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

// read runs do in a transaction that can only read, and in which no statement lasts.
func (e *examination) read(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, e.cfg.Pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', $1, true),
				pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('row_security', 'off', true)`, fmt.Sprint(checkTimeout.Milliseconds()))
		if err != nil {
			return fmt.Errorf("set timeouts: %w", err)
		}
		return do(tx)
	})
}

// row reads one row.
func (e *examination) row(ctx context.Context, into []any, sql string, args ...any) error {
	return e.read(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, sql, args...).Scan(into...) })
}

// readAll reads rows into a slice of structs, by position.
func readAll[T any](ctx context.Context, e *examination, sql string, args ...any) (found []T, err error) {
	err = e.read(ctx, func(tx pgx.Tx) error {
		found, err = collect(ctx, tx, pgx.RowToStructByPos[T], sql, args...)
		return err
	})
	return found, err
}

// texts reads rows of one text each.
func (e *examination) texts(ctx context.Context, sql string, args ...any) (found []string, err error) {
	err = e.read(ctx, func(tx pgx.Tx) error {
		found, err = collect(ctx, tx, pgx.RowTo[string], sql, args...)
		return err
	})
	return found, err
}

// lasted writes a number of seconds as a length of time.
func lasted(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
