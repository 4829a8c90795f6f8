package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
)

// errReported ends a command that has already said, in its result, what failed.
var errReported = errors.New("reported")

// usageError is wrong usage: nothing was connected to, and the exit code is 2.
type usageError struct {
	message string
	command string // whose help says more
}

func (e *usageError) Error() string { return e.message }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), command: cmd.CommandPath()}
}

// sentence makes the one line that the program says of an error: its cause and the way out, and no password.
func sentence(err error) string {
	var usage *usageError
	var connect *pgconn.ConnectError
	text := err.Error()
	switch {
	case errors.As(err, &usage):
		text += "; see: " + usage.command + " --help"
	case errors.As(err, &connect):
		text = connectSentence(connect)
	case errors.Is(err, context.DeadlineExceeded):
		text += "; the database is slow or locked: run it again, or see what it waits for in pg_stat_activity"
	default:
		text += wayOut(err)
	}
	return redact(strings.Join(strings.Fields(text), " "))
}

// wayOut answers what to do about an error of the server, "" where its text says enough.
func wayOut(err error) string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return ""
	}
	switch pgErr.Code {
	case pgerrcode.InsufficientPrivilege:
		return "; use a login that may: the roles iu_app, iu_worker, iu_operator and iu_subscriber hold what each kind of user needs"
	case pgerrcode.UndefinedTable, pgerrcode.UndefinedFunction, pgerrcode.InvalidSchemaName, pgerrcode.UndefinedColumn:
		return "; if the schema is missing or old, run: iuworker migrate up"
	case pgerrcode.ReadOnlySQLTransaction:
		return "; this server is a standby or read only: give the address of the primary"
	case pgerrcode.LockNotAvailable, pgerrcode.QueryCanceled:
		return "; run it again, or see what it waits for in pg_stat_activity"
	default:
		return ""
	}
}

// connectSentence says why there is no connection: where to, who as, and the one cause that matters.
func connectSentence(err *pgconn.ConnectError) string {
	cfg := err.Config
	where := cfg.Host
	if !strings.HasPrefix(where, "/") {
		where = net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
	}
	cause, out := connectCause(err)
	return fmt.Sprintf("cannot connect to PostgreSQL at %s as user %s, database %s: %s; %s",
		where, cfg.User, cfg.Database, cause, out)
}

func connectCause(err error) (cause, out string) {
	const address = "check --database-url, IUWORKER_DATABASE_URL, DATABASE_URL or PG*"
	var (
		pgErr *pgconn.PgError
		dns   *net.DNSError
		op    *net.OpError
	)
	switch {
	case errors.As(err, &pgErr):
		out = address
		switch pgErr.Code {
		case pgerrcode.InvalidPassword, pgerrcode.InvalidAuthorizationSpecification:
			out = "check the user and the password in the address"
		case pgerrcode.InvalidCatalogName:
			out = "create it, or name another in the address"
		case pgerrcode.TooManyConnections:
			out = "raise max_connections there, or lower --pool-size here"
		case pgerrcode.CannotConnectNow:
			out = "wait until the server is up"
		}
		return pgErr.Message, out
	case errors.As(err, &dns):
		return fmt.Sprintf("there is no host %s", dns.Name), address
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", "is the server up, and is a firewall in between? " + address
	case errors.As(err, &op) && op.Err != nil:
		return op.Err.Error(), "is PostgreSQL running there? " + address + ", or run iuworker dev, which brings its own"
	default:
		return errors.Unwrap(err).Error(), address
	}
}

var (
	urlPassword     = regexp.MustCompile(`(?i)(://[^:/?\s]*):.*@`)
	keywordPassword = regexp.MustCompile(`(?i)(pass(?:word|file|wd)?\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&;,'"]+)`)
)

// redact takes out what looks like a password. It is the last resort: addresses are not quoted in the first place.
func redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1:xxxxx@")
	return keywordPassword.ReplaceAllString(text, "${1}xxxxx")
}

// quoted answers a value that a user gave, for an error; what may be an address, and hold a password, is not repeated.
func quoted(value string) string {
	lower := strings.ToLower(value)
	if strings.Contains(lower, "://") || strings.Contains(lower, "pass") || strings.Contains(lower, "@") {
		return "a text that may be an address"
	}
	if len(value) > 60 {
		value = value[:60] + "…"
	}
	return fmt.Sprintf("%q", value)
}

// validText reports whether PostgreSQL can hold a text.
func validText(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }
