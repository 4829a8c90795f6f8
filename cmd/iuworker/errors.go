package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/address"
	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/names"
	webui "github.com/iu-core/iuworker/riverui"
	iusql "github.com/iu-core/iuworker/sql"
)

// usageError is wrong usage, found before anything connects. The exit code is 2.
type usageError struct {
	message string
	command string // its help says more
}

func (e *usageError) Error() string { return e.message }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), command: cmd.CommandPath()}
}

// sentence returns the line that the program prints for an error: its cause and the way out, and no password.
func sentence(err error) string {
	text := err.Error()
	if usage, ok := errors.AsType[*usageError](err); ok {
		text += "; see: " + usage.command + " --help"
	} else if errors.Is(err, context.Canceled) {
		text = "interrupted"
	} else if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		text = connectSentence(connect)
	} else if errors.Is(err, errMigration) {
		text += migrationWayOut(err)
	} else {
		text += wayOut(err)
	}
	text = strings.ReplaceAll(text, "\n", "; ") // as joined errors have it
	return redact(strings.Join(strings.Fields(text), " "))
}

var (
	// errConfiguration marks an error of settings, or of files that they name. A restart does not fix it: the exit code is 2.
	errConfiguration = errors.New("wrong configuration")
	// errMigration marks an error of migrate up, which "run: iuworker migrate up" would not fix.
	errMigration = errors.New("failed migration")
)

// markedError is an error that is also its mark, for errors.Is.
type markedError struct {
	error

	mark error
}

// Unwrap is for errors.Is and errors.As.
func (e *markedError) Unwrap() []error { return []error{e.error, e.mark} }

func configured(err error) error { return &markedError{err, errConfiguration} }

// isConfiguration reports whether the cause is wrong usage or a wrong configuration.
func isConfiguration(err error) bool {
	_, wrong := errors.AsType[*usageError](err)
	_, refused := errors.AsType[*webui.ListenError](err)
	return wrong || refused || errors.Is(err, errConfiguration)
}

// roleOf maps commands to the role that they need. "" is the owner of iu-core, which cannot be granted.
var roleOf = map[string]string{
	"enqueue": names.RoleApp, "work": names.RoleWorker, "subscribe": names.RoleSubscriber,
	"status": names.RoleOperator, "gate": names.RoleOperator, "rollback": names.RoleOperator, "retry": names.RoleOperator, "dead-letters": names.RoleOperator,
	"trace": names.RoleOperator, "consumers": names.RoleOperator, "settings": names.RoleOperator, "verify": names.RoleOperator, "audit": names.RoleOperator,
	"cancel": names.RoleOperator, "scaleout": names.RoleOperator, "events": names.RoleOperator,
	"templates": names.RoleOperator, "templates create": "", "templates mark": "",
}

// denied returns the sentence for a missing privilege: which user may not run which command, and the statement that grants
// it. It returns "" for other errors, and if no role of ours would help.
func (a *app) denied(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Code != pgerrcode.InsufficientPrivilege || a.login == "" || iusql.RefusedByRowSecurity(err) || errors.Is(err, errMigration) {
		return ""
	}
	role, known := roleOf[a.command]
	if !known {
		command, _, _ := strings.Cut(a.command, " ")
		role = roleOf[command]
	}
	if role == "" {
		return ""
	}
	return fmt.Sprintf("user %q may not run %q (%s); it needs the role %s; as an administrator, run: GRANT %s TO %s", a.login, "iuworker "+a.command,
		pgErr.Message, role, role, pgx.Identifier{a.login}.Sanitize())
}

// explain is sentence for a command: it knows the role that is missing, and suggests iuworker dev to a user without a database.
func (a *app) explain(err error) string {
	text := sentence(err)
	if denied := a.denied(err); denied != "" {
		return denied
	}
	_, refused := errors.AsType[*net.OpError](err)
	if _, given := a.source(); refused && !given && os.Getenv("PGHOST") == "" && os.Getenv("PGSERVICE") == "" {
		text += "; to try iuworker on a database of its own, run: iuworker dev"
	}
	return text
}

func migrationWayOut(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return wayOut(err)
	}
	const goOn = "what was applied stays, and the same command continues from there"
	switch pgErr.Code {
	case pgerrcode.InsufficientPrivilege:
		return "; run it as the role that owns these objects, or as an administrator; " + goOn
	case pgerrcode.UndefinedTable, pgerrcode.UndefinedFunction, pgerrcode.InvalidSchemaName, pgerrcode.UndefinedColumn:
		return "; an object was removed or renamed: restore it; " + goOn
	default:
		return cmp.Or(wayOut(err), "; fix the cause; "+goOn)
	}
}

const rowSecurityWayOut = "; row security is on for that table, and hides rows that iuworker must see: run iuworker migrate up as the owner of " +
	"iu_outbox, which switches it off for the tables of iuworker, or let an administrator give the login BYPASSRLS"

// wayOut returns what to do about an error of the server; "" if its text says enough.
func wayOut(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "; the database is slow or locked: run it again, or run: iuworker doctor"
	case !ok:
		return ""
	case iusql.RefusedByRowSecurity(err):
		return rowSecurityWayOut
	}
	switch pgErr.Code {
	case pgerrcode.InsufficientPrivilege:
		return "; use a login that may: the roles iu_app, iu_worker, iu_operator and iu_subscriber hold what each kind of user needs"
	case pgerrcode.UndefinedTable, pgerrcode.UndefinedFunction, pgerrcode.InvalidSchemaName, pgerrcode.UndefinedColumn:
		return "; if the schema is missing or outdated, run: iuworker migrate up"
	case pgerrcode.LockNotAvailable, pgerrcode.QueryCanceled:
		return "; run it again, or run: iuworker doctor"
	}
	if out := dbsession.WayOut(err); out != "" {
		return "; " + out
	}
	return ""
}

// connectSentence returns why there is no connection: as which user, why for each host, and the way out for the last one.
func connectSentence(err *pgconn.ConnectError) string {
	as := who(err.Config.User, cmp.Or(err.Config.Database, err.Config.User))
	failures := address.Failures(err)
	if len(failures) == 0 {
		failures = []address.Failure{{Err: err}}
	}
	if len(failures) == 1 && failures[0].Host != "" {
		as = " at " + failures[0].Host + as
	}
	var causes []string
	var out string
	for _, f := range failures {
		var cause string
		if cause, out = connectCause(f.Err); len(failures) > 1 {
			cause = "at " + f.Host + ": " + cause
		}
		causes = append(causes, cause)
	}
	return fmt.Sprintf("cannot connect to PostgreSQL%s: %s; %s", as, strings.Join(causes, ", "), out)
}

// who returns the user and the database of a connection, if they are known.
func who(user, database string) (text string) {
	if user != "" {
		text = " as user " + user
	}
	if database != "" {
		text += ", database " + database
	}
	return text
}

// connectWaysOut has what to do about an error of the server that refuses a connection, by its code.
var connectWaysOut = map[string]string{
	pgerrcode.InvalidPassword:                   "check the user and the password in the address",
	pgerrcode.InvalidAuthorizationSpecification: "check the user and the password in the address",
	pgerrcode.InvalidCatalogName:                "create it, or name another in the address",
	pgerrcode.TooManyConnections:                "raise max_connections there, or lower --pool-size here",
	pgerrcode.CannotConnectNow:                  "wait until the server is up",
}

func connectCause(err error) (cause, out string) {
	const check = "check --database-url, IUWORKER_DATABASE_URL, DATABASE_URL or PG*"
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Message, cmp.Or(connectWaysOut[pgErr.Code], check)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "unknown host " + dns.Name, check
		}
		return "cannot resolve the name " + dns.Name + ": " + dns.Err, check
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no reply in time", "check that the server is up and no firewall is in between, then " + check
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err.Error(), "check that PostgreSQL is running there, then " + check
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // the sentence says what the driver's prefix says
	}
	return err.Error(), check
}

var (
	urlPassword     = regexp.MustCompile(`(?i)(://[^:/?\s]*):.*@`)
	mayBeAddress    = regexp.MustCompile(`(?i)://|@|pass|pwd`)
	keywordPassword = regexp.MustCompile(`(?i)(pass(?:word|file|wd)?\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&;,'"]+)`)
)

// redact replaces what looks like a password. It is the last resort: no error quotes an address.
func redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1:xxxxx@")
	return keywordPassword.ReplaceAllString(text, "${1}xxxxx")
}

// quoted returns a value for an error. It does not repeat what may be an address with a password.
func quoted(value string) string {
	if mayBeAddress.MatchString(value) {
		return "a text that may be an address"
	}
	if len(value) > 60 {
		value = value[:60] + "…"
	}
	return fmt.Sprintf("%q", value)
}

// validText reports whether PostgreSQL can hold a text.
func validText(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }
