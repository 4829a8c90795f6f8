package iusql

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// An ability is something that a server may be unable to do although its version supports it: a service lacks it, a
// library forbids it, or an administrator revoked it.
type ability struct {
	ask     string // a statement that changes nothing
	what    string // what the server cannot do then, and why it matters
	without string // the consequence; empty if iuworker cannot work without the ability
}

// abilities are checked before the first change.
var abilities = []ability{
	{ask: "SELECT pg_catalog.md5('')",
		what: "md5() does not work here (does the server's OpenSSL run in FIPS mode?), and an idempotency key is an md5 by contract"},
	{ask: "SELECT pg_catalog.sha256('')", what: "sha256() does not work here, and digests of collections need it"},
	{ask: "SELECT pg_catalog.hashtextextended('', 0), pg_catalog.gen_random_uuid()", what: "functions that create keys do not work here"},
	{ask: "SELECT pg_catalog.pg_try_advisory_xact_lock_shared(26999, 0), pg_catalog.pg_try_advisory_xact_lock(26999, 0)",
		what: "advisory locks do not work here, and composing needs them"},
	{ask: "LISTEN iu_outbox_probe", what: "LISTEN does not work here, and workers need it to wake up"},
	{ask: "SELECT pg_catalog.pg_notify('iu_outbox_probe', '')", what: "NOTIFY does not work here, and announcements need it"},
	{ask: "SELECT pg_catalog.pg_notification_queue_usage()", what: "pg_notification_queue_usage() does not work here",
		without: "notifications are sent even if the notification queue is almost full"},
	{ask: "SELECT pg_catalog.pg_control_system()", what: "pg_control_system() does not work here",
		without: "a copy of this database on another server is told from this one by its name and timeline alone"},
	{ask: "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())", what: "the server does not say which timeline it is on",
		without: "after a failover that lost commits no new epoch begins by itself; begin one: SELECT iu_outbox.begin_epoch()"},
}

// checkAbilities tries each ability. It logs missing ones, and adds those that are indispensable to found.
func (s *session) checkAbilities(ctx context.Context, tx pgx.Tx, found *findings) error {
	for _, a := range abilities {
		err := try(ctx, tx, a.ask)
		pgErr, refused := errors.AsType[*pgconn.PgError](err)
		switch {
		case err == nil:
		case !refused:
			return fmt.Errorf("ask what the server can do: %w", err)
		case a.without != "":
			s.cfg.Logger.WarnContext(ctx, "Migration: "+a.what+"; "+a.without, slog.String("error", pgErr.Message))
		default:
			found.unsuitable = append(found.unsuitable, fmt.Sprintf("%s: %s", a.what, pgErr.Message))
		}
	}
	return checkEncoding(ctx, tx, found)
}

// try runs a statement and rolls it back. An error does not end the transaction.
func try(ctx context.Context, tx pgx.Tx, sql string) error {
	savepoint, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = savepoint.Exec(ctx, sql)
	return errors.Join(err, savepoint.Rollback(ctx))
}

// checkEncoding checks that the server can convert the database's encoding to UTF-8, which this program, JSON and River use.
func checkEncoding(ctx context.Context, tx pgx.Tx, found *findings) error {
	var encoding string
	var converts bool
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.getdatabaseencoding(), pg_catalog.getdatabaseencoding() = 'UTF8' OR EXISTS (
			SELECT FROM pg_catalog.pg_conversion AS c
			WHERE c.condefault AND c.conforencoding = pg_catalog.pg_char_to_encoding(pg_catalog.getdatabaseencoding()::text::name)
			  AND c.contoencoding = pg_catalog.pg_char_to_encoding('UTF8'))`).Scan(&encoding, &converts)
	if err != nil {
		return fmt.Errorf("ask for the encoding of the database: %w", err)
	}
	if !converts {
		found.unsuitable = append(found.unsuitable, fmt.Sprintf("the encoding of the database is %s, which PostgreSQL cannot convert to UTF-8 and back, "+
			"so it could hold text that no session can read; use a database with ENCODING 'UTF8' (or LATIN1, WIN1252, EUC_JP and others that it converts)",
			encoding))
	}
	return nil
}

// systemFunction matches a call of a PostgreSQL function in our SQL.
var systemFunction = regexp.MustCompile(`\bpg_catalog\.([a-z0-9_]+)\(`)

// systemFunctions returns the names of PostgreSQL's functions that our SQL calls and that are indispensable.
var systemFunctions = sync.OnceValue(func() []string {
	names := map[string]bool{}
	for _, pattern := range []string{"iu-core/*.sql", "iu-outbox/*.sql", functionsFolder + "*.sql"} {
		files, err := fs.Glob(Files, pattern)
		if err != nil {
			panic(fmt.Sprintf("iusql: %v", err))
		}
		for _, file := range files {
			for _, match := range systemFunction.FindAllStringSubmatch(text(file), -1) {
				names[match[1]] = true
			}
		}
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool {
		return slices.ContainsFunc(abilities, func(a ability) bool { return a.without != "" && strings.Contains(a.ask, "."+name+"(") })
	})
	return slices.Sorted(maps.Keys(names))
})

// checkFunctions adds functions that this role may not call: an administrator may have revoked EXECUTE on
// PostgreSQL's own functions from PUBLIC.
func checkFunctions(ctx context.Context, tx pgx.Tx, found *findings) error {
	denied, err := collect(ctx, tx, "look for functions that this role may not call", pgx.RowTo[string], `
		SELECT p.oid::pg_catalog.regprocedure::text
		FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
		WHERE n.nspname = 'pg_catalog' AND p.proname = ANY ($1::text[]) AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
		ORDER BY 1`, systemFunctions())
	if err != nil {
		return err
	}
	for _, function := range denied {
		found.privileges = append(found.privileges, "EXECUTE on function pg_catalog."+function)
	}
	return nil
}
