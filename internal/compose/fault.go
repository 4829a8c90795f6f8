package compose

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/retry"
)

// The cause of an error decides what happens to an event:
//
//	the installation       it is held back, as at a closed gate, until that is fixed (FaultOf)
//	something that passes  it is retried for a day (MayPass)
//	the event itself       it is tried ten times, and becomes a dead letter
//
// A code alone cannot tell a fault of the installation from one that a single template or a foreign trigger causes: while other
// events are composed, the fault is the event's own (ownError, maxHolds).

// Fault is something that is wrong with the installation, and not with an event.
type Fault struct {
	Code string `json:"code"` // SQLSTATE
	Says string `json:"says"` // what is wrong
	Help string `json:"help"` // what fixes it
}

// String returns one sentence: the cause, then the way out.
func (f Fault) String() string { return f.Says + "; " + f.Help }

// FaultOf returns the fault of the installation that caused an error, if one did.
func FaultOf(err error) (Fault, bool) {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return Fault{}, false
	}
	is := func(says, help string) (Fault, bool) {
		return Fault{Code: pgErr.Code, Says: fmt.Sprintf("%s: %s (SQLSTATE %s)", says, pgErr.Message, pgErr.Code), Help: help}, true
	}
	switch pgErr.Code {
	case pgerrcode.InsufficientPrivilege:
		if strings.Contains(pgErr.File, "execMain") || strings.Contains(pgErr.Routine, "WithCheck") || pgErr.File == "rls.c" {
			return is("row security is in the way", "switch it off; to see for which table, run: iuworker doctor")
		}
		return is("a privilege is missing",
			"to restore the privileges of iuworker's roles, run: iuworker migrate up; to see which one is missing, run: iuworker doctor")
	case pgerrcode.UndefinedFunction, pgerrcode.UndefinedTable, pgerrcode.UndefinedColumn, pgerrcode.InvalidSchemaName,
		pgerrcode.UndefinedObject:
		return is("something is missing in the database", "restore it; to restore functions and views, run: iuworker migrate up")
	case pgerrcode.UniqueViolation:
		if sequence, ok := sequenceOf[pgErr.SchemaName+"."+pgErr.ConstraintName]; ok {
			return is("a sequence is behind", "set it forward: "+sequence.Forward())
		}
	case pgerrcode.ReadOnlySQLTransaction:
		return is("the server is read-only", "connect to the primary, or make it writable again")
	case pgerrcode.DiskFull:
		return is("the disk is full", "make room on the server")
	case pgerrcode.TooManyConnections, pgerrcode.ConfigurationLimitExceeded:
		return is("a limit of the server is reached", "raise it, or use less; to see what, run: iuworker doctor")
	case pgerrcode.FeatureNotSupported, pgerrcode.ObjectNotInPrerequisiteState, pgerrcode.CantChangeRuntimeParam:
		return is("a setting is in the way", "read the message of the server, and run: iuworker doctor")
	case pgerrcode.DataCorrupted, pgerrcode.IndexCorrupted:
		return is("data on the server is corrupted", "rebuild an index with REINDEX; restore a table from a backup")
	case pgerrcode.InvalidPassword, pgerrcode.InvalidAuthorizationSpecification, pgerrcode.InvalidCatalogName:
		return is("the server refuses this login", "correct the address, the password or pg_hba.conf")
	}
	return Fault{}, false
}

// Sequence feeds a column of our tables. A sequence that is behind, as after a logical replication, which copies no sequences,
// gives numbers that are taken.
type Sequence struct {
	Name       string // schema and sequence
	Table      string // schema and table
	Column     string
	Constraint string // that is violated, without its schema
}

// Forward returns the statement that sets the sequence behind the highest number of its column.
func (s Sequence) Forward() string {
	highest := fmt.Sprintf("SELECT max(%s) FROM %s", s.Column, s.Table)
	if s.Name == "iu_outbox.ledger_entry_seq" { // which numbers two tables
		highest = "SELECT max(entry) FROM (SELECT entry FROM iu_outbox.claimed UNION ALL SELECT entry FROM iu_outbox.settled) AS e"
	}
	return fmt.Sprintf("SELECT setval('%s', GREATEST((%s), (SELECT last_value FROM %s)))", s.Name, highest, s.Name)
}

// Sequences are all sequences that the worker's statements use.
var Sequences = []Sequence{
	{"iu_outbox.event_id_seq", "iu_outbox.event", "id", "event_pkey"},
	{"iu_outbox.emission_id_seq", "iu_outbox.emission", "id", "emission_pkey"},
	{"iu_outbox.ledger_entry_seq", "iu_outbox.claimed", "entry", "claimed_pkey"},
	{"iu_outbox.ledger_entry_seq", "iu_outbox.settled", "entry", "settled_pkey"},
	{"iu_outbox.dead_letter_id_seq", "iu_outbox.dead_letter", "id", "dead_letter_pkey"},
	{"iu_outbox.consumer_dead_letter_id_seq", "iu_outbox.consumer_dead_letter", "id", "consumer_dead_letter_pkey"},
	{"iu_outbox.audit_id_seq", "iu_outbox.audit", "id", "audit_pkey"},
	{"iu_outbox.epoch_id_seq", "iu_outbox.epoch", "id", "epoch_id_key"},
	{"iu_river.river_job_id_seq", "iu_river.river_job", "id", "river_job_pkey"},
}

var sequenceOf = func() map[string]Sequence {
	byConstraint := make(map[string]Sequence, len(Sequences))
	for _, s := range Sequences {
		schema, _, _ := strings.Cut(s.Table, ".")
		byConstraint[schema+"."+s.Constraint] = s
	}
	return byConstraint
}()

// MayPass reports whether an error may pass by itself: one that retry.MayPass accepts, or a key that another transaction holds.
func MayPass(err error) bool { return errors.Is(err, ErrKeyHeld) || retry.MayPass(err) }

// Divides reports whether one row of a batch may have caused an error, so that the others are worth a try without it: an error of
// the server that neither ends the session nor means that the server is unavailable.
func Divides(err error) bool {
	if errors.Is(err, ErrFenced) {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return true // something took too long
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pgErr.Code[:2] {
	case "08", "25", "28", "3D", "58":
		return false
	case "57":
		return pgErr.Code == pgerrcode.QueryCanceled
	}
	return pgErr.Code != pgerrcode.TooManyConnections && pgErr.Code != pgerrcode.DiskFull
}

// lasting reports whether a savepoint cannot confine an error: a timeout, or a lack of memory.
func lasting(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == pgerrcode.QueryCanceled || pgErr.Code[:2] == "53" || pgErr.Code[:2] == "54" || pgErr.Code[:2] == "XX")
}

// lockHeld reports whether another transaction holds what is needed.
func lockHeld(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, ErrKeyHeld) || ok && pgErr.Code == pgerrcode.LockNotAvailable
}

// ownError is the error of an event of a batch in which others were composed.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }
