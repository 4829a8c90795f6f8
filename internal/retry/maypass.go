package retry

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// MayPass reports whether an error may be transient: SQLSTATE classes 08 (connections), 40 (serialization and deadlocks),
// 53 (resources), 55 (locks), 57 (operator intervention and timeouts), 58 and XX (the system), 25006 (a read-only server), and
// errors that kept a statement from reaching the server.
func MayPass(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code[:2] {
		case "08", "40", "53", "55", "57", "58", "XX":
			return true
		}
		return pgErr.Code == pgerrcode.ReadOnlySQLTransaction
	}
	var netErr net.Error
	var connectErr *pgconn.ConnectError
	return errors.As(err, &netErr) || errors.As(err, &connectErr) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed)
}
