package outbox

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// InvalidError names a field of an event whose value the outbox refuses.
type InvalidError struct {
	Field  string // the column, such as instance_key_suffix
	Reason string // such as "must not be blank"
	Err    error  // the server's error, which aborted the transaction; nil if the value was not sent
}

// Error returns the field and the reason, such as "instance_key_suffix must not be blank".
func (e *InvalidError) Error() string { return e.Field + " " + e.Reason }

// Unwrap returns the server's error.
func (e *InvalidError) Unwrap() error { return e.Err }

const (
	notNullViolation = "23502"
	checkViolation   = "23514"
)

// invalid converts the violation of a constraint of the outbox to an *InvalidError. The names of check constraints have the form
// <field>_must_<reason>. Other errors are returned unchanged.
func invalid(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.SchemaName != "iu_outbox" || pgErr.TableName != "event" {
		return err
	}
	switch pgErr.Code {
	case notNullViolation:
		return &InvalidError{Field: pgErr.ColumnName, Reason: "must not be null", Err: err}
	case checkViolation:
		if field, reason, ok := strings.Cut(pgErr.ConstraintName, "_must_"); ok {
			return &InvalidError{Field: field, Reason: "must " + strings.ReplaceAll(reason, "_", " "), Err: err}
		}
	}
	return err
}
