package iusql

import (
	"errors"
	"fmt"
)

// Errors of this package, for errors.Is. The text of an error that wraps one of them is one sentence that says what
// is wrong and what to do. It never contains a password.
var (
	// ErrUsage: the caller asked for something that does not exist, such as a version below 32.
	ErrUsage = errors.New("wrong usage")
	// ErrSchemaMissing: the database was never migrated, or was migrated down.
	ErrSchemaMissing = errors.New("this database has no iuworker schema; run: iuworker migrate up")
	// ErrSchemaOld: the database was migrated by an older program.
	ErrSchemaOld = errors.New("the schema is older than this program")
	// ErrSchemaNew: a newer program migrated the database and does not allow this one to work on it.
	ErrSchemaNew = errors.New("the schema is newer than this program")
	// ErrServer: iuworker cannot work on the server, because it is too old or a standby.
	ErrServer = errors.New("unsuitable server")
	// ErrPrivileges: the role lacks privileges; the error names all of them.
	ErrPrivileges = errors.New("missing privileges")
	// ErrRowSecurity: row security may hide rows from this login, so that what it reads proves nothing.
	ErrRowSecurity = errors.New("row security is active")
	// ErrConflict: objects are missing, different, or not iuworker's; the error names all of them.
	ErrConflict = errors.New("conflicting objects")
	// ErrNotEmpty: there are rows that Down would lose; the error says how many of each.
	ErrNotEmpty = errors.New("not empty")
	// ErrBusy: another migration, or another session's lock, lasted too long.
	ErrBusy = errors.New("locked by another session")
)

// failure is an error with a text of its own that wraps some of the errors above.
type failure struct {
	kinds []error
	text  string
}

func fail(kind error, format string, args ...any) error {
	return &failure{[]error{kind}, fmt.Sprintf(format, args...)}
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.kinds }
