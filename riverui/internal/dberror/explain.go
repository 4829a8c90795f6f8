// Package dberror turns errors of the database into what a client over HTTP may read: a status and a sentence that says
// what to do, without addresses and passwords.
package dberror

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/retry"
	iusql "github.com/iu-core/iuworker/sql"
)

// Explain returns the status and the sentence for an error of the database. An error that the client can do nothing about
// is 500, and its sentence refers to the log.
func Explain(err error) (status int, sentence string) {
	_, unconnected := errors.AsType[*pgconn.ConnectError](err)
	pgErr, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case unconnected:
		return http.StatusServiceUnavailable, "cannot connect to the database; the log says why"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "the database did not reply in time; try again"
	case Lost(err):
		return http.StatusServiceUnavailable, "the connection to the database was lost; try again"
	case !refused:
		return http.StatusInternalServerError, "this failed; the log says why"
	}
	switch {
	case iusql.RefusedByRowSecurity(err):
		return http.StatusServiceUnavailable, "row security hides rows from the database login of this worker; run as the owner: iuworker migrate up"
	case pgErr.Code == pgerrcode.InsufficientPrivilege:
		return http.StatusForbidden, "the database login of this worker may not do that; grant it the role iu_operator"
	case pgErr.Code == pgerrcode.UndefinedTable, pgErr.Code == pgerrcode.UndefinedFunction,
		pgErr.Code == pgerrcode.InvalidSchemaName, pgErr.Code == pgerrcode.UndefinedColumn:
		return http.StatusServiceUnavailable, "the schema is missing or outdated; run: iuworker migrate up"
	case pgErr.Code == pgerrcode.ReadOnlySQLTransaction:
		return http.StatusServiceUnavailable, "this database is read-only: it is a standby, or was set to read-only"
	case pgerrcode.IsDataException(pgErr.Code), pgerrcode.IsIntegrityConstraintViolation(pgErr.Code):
		return http.StatusBadRequest, "the database refuses this: " + pgErr.Message
	case pgerrcode.IsTransactionRollback(pgErr.Code), pgerrcode.IsOperatorIntervention(pgErr.Code),
		pgErr.Code == pgerrcode.LockNotAvailable, pgerrcode.IsInsufficientResources(pgErr.Code):
		return http.StatusServiceUnavailable, "the database is busy (" + pgErr.Message + "); nothing was changed; try again"
	default:
		return http.StatusInternalServerError, "this failed; the log says why"
	}
}

// Lost reports whether the session ended before the server said what became of the statement.
func Lost(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		ends := []string{pgerrcode.AdminShutdown, pgerrcode.CrashShutdown, pgerrcode.CannotConnectNow, pgerrcode.IdleInTransactionSessionTimeout}
		return slices.Contains(ends, pgErr.Code) || pgerrcode.IsConnectionException(pgErr.Code)
	}
	_, unconnected := errors.AsType[*pgconn.ConnectError](err)
	return !unconnected && !errors.Is(err, context.DeadlineExceeded) && retry.MayPass(err)
}

var (
	urlPassword     = regexp.MustCompile(`(?i)(://[^:/?\s]*):[^\s]*@`)
	keywordPassword = regexp.MustCompile(`(?i)(pass(?:word|file|wd)?\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&;,'"]+)`)
)

// Redact takes out what looks like a password. It is the last resort: addresses are not repeated in the first place.
func Redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1:xxxxx@")
	return keywordPassword.ReplaceAllString(text, "${1}xxxxx")
}
