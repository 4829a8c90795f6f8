package dbsession

import (
	"errors"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// ReadOnlyError reports whether an error says that the server takes no writes.
func ReadOnlyError(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == pgerrcode.ReadOnlySQLTransaction
}

// WayOut returns what to do about an error that comes of what is between this program and the primary; "" for others.
func WayOut(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ""
	}
	switch pgErr.Code {
	case pgerrcode.DuplicatePreparedStatement, pgerrcode.InvalidSQLStatementName:
		return "prepared statements do not work through this pooler: add default_query_exec_mode=cache_describe to the address"
	case pgerrcode.ReadOnlySQLTransaction:
		return "this server is a standby or read only: give the address of the primary"
	default:
		return ""
	}
}
