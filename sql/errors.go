package iusql

import (
	"errors"
	"fmt"
)

// What the functions of this package fail with, for errors.Is. The text of an error that wraps one of these is one
// sentence that says what is wrong and what to do, and never holds a password.
var (
	// ErrUsage: the caller asked for something that does not exist, such as a version below 32.
	ErrUsage = errors.New("wrong usage")
	// ErrSchemaMissing: the database was never migrated, or was taken down again.
	ErrSchemaMissing = errors.New("this database has no iuworker schema; run: iuworker migrate up")
	// ErrSchemaOld: the database was migrated by an older program.
	ErrSchemaOld = errors.New("the schema is older than this program")
	// ErrSchemaNew: the database was migrated by a newer program, which says that this one may not work on it.
	ErrSchemaNew = errors.New("the schema is newer than this program")
	// ErrServer: iuworker cannot work on the server: it is too old, or a standby.
	ErrServer = errors.New("unsuitable server")
	// ErrPrivileges: the role lacks privileges; the error names all of them.
	ErrPrivileges = errors.New("missing privileges")
	// ErrRowSecurity: row security may hide rows from this login; nothing follows from rows that it does not see.
	ErrRowSecurity = errors.New("row security is active")
	// ErrConflict: objects are missing, different, or not iuworker's; the error names all of them.
	ErrConflict = errors.New("conflicting objects")
	// ErrNotEmpty: there are rows that Down would lose; the error says how many of each.
	ErrNotEmpty = errors.New("not empty")
	// ErrBusy: another migration, or another session's lock, did not end in time.
	ErrBusy = errors.New("locked by another session")
)

// failure is an error of some of the kinds above in its own words.
type failure struct {
	kinds []error
	text  string
}

func fail(kind error, format string, args ...any) error {
	return &failure{[]error{kind}, fmt.Sprintf(format, args...)}
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.kinds }
