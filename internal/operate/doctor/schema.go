package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/conformance"
	iusql "github.com/iu-core/iuworker/sql"
)

func (e *examination) schema(ctx context.Context, tx pgx.Tx) (Check, error) {
	schema, err := iusql.InspectSchema(ctx, tx)
	switch {
	case errors.Is(err, iusql.ErrPrivileges):
		return skipped("%s", err), nil
	case errors.Is(err, iusql.ErrRowSecurity):
		return failed("%s", err).so("turn row security off as the owner of these tables", migrateUp), nil
	case err != nil:
		return Check{}, err
	}
	switch err := iusql.CheckSchema(ctx, tx); {
	case errors.Is(err, iusql.ErrSchemaMissing):
		return failed("this database has no iuworker schema").so("check that this is the right database, then create the schema", migrateUp), nil
	case errors.Is(err, iusql.ErrSchemaOld):
		return failed("%s", err).so("migrate the schema; running workers can continue meanwhile", migrateUp), nil
	case err != nil:
		return failed("%s", err).so("use the iuworker that created it, or a newer one", "iuworker version"), nil
	case schema.Newer():
		return warn("a newer iuworker created the schema (%d, functions of %s), and this is %s: they work together",
			schema.Version, schema.FunctionsVersion, iusql.ProgramVersion).so("finish the update: install the newer iuworker here, too"), nil
	}
	return fine("version %d, functions of %s", schema.Version, schema.FunctionsVersion), nil
}

// indexes finds indexes that a failed build left invalid, not those that are being built now.
func (e *examination) indexes(ctx context.Context, tx pgx.Tx) (Check, error) {
	invalid, err := texts(ctx, tx, `
		SELECT n.nspname || '.' || c.relname
		FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
		WHERE NOT (i.indisvalid AND i.indisready)
		  AND (n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration')
		    OR n.nspname = 'public' AND (t.relname LIKE 'iu\_%' OR t.relname IN ('dot_config', 'event_type_registry', 'event_route')))
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.relid = i.indrelid)
		ORDER BY 1`)
	if err != nil || len(invalid) == 0 {
		return fine("all indexes are valid"), err
	}
	next := "REINDEX INDEX CONCURRENTLY " + invalid[0]
	if strings.Contains(invalid[0], "_ccnew") || strings.Contains(invalid[0], "_ccold") {
		next = "DROP INDEX CONCURRENTLY " + invalid[0] // left over by REINDEX; the index itself exists
	}
	return failed("%s not valid: queries do not use it, or rows get past it", operate.Plural(len(invalid), "index is", "indexes are")).
		with(invalid).so("rebuild it, or drop it if a failed rebuild left it behind", psql(next)), nil
}

// sequences finds sequences that would return numbers that are taken.
func (e *examination) sequences(ctx context.Context, tx pgx.Tx) (Check, error) {
	behind, err := texts(ctx, tx, "SELECT s.name FROM iu_outbox.sequences() AS s WHERE s.behind ORDER BY s.name")
	if err != nil || len(behind) == 0 {
		return fine("every sequence is ahead of its table"), err
	}
	return failed("%s behind and would return numbers that are taken", operate.Plural(len(behind), "sequence is", "sequences are")).
		with(lines(behind, func(name string) string { return name + ": " + operate.ForwardSequence(name) })).
		so("logical replication does not copy sequences: run these statements as the owner"), nil
}

// expectedTriggers are the triggers that events depend on, by table.
var expectedTriggers = iusql.Triggers()

// triggers checks that each trigger exists and always fires: without one, doorbells, emissions or dead letters are lost silently.
func (e *examination) triggers(ctx context.Context, tx pgx.Tx) (Check, error) {
	missing, err := texts(ctx, tx, `
		SELECT w.name || CASE WHEN g.tgname IS NULL THEN ' is missing' WHEN g.tgenabled = 'D' THEN ' is disabled'
			ELSE ' does not fire always' END
		FROM pg_catalog.unnest($1::text[]) AS w (name)
		LEFT JOIN (
			SELECT n.nspname || '.' || c.relname || ': ' || t.tgname AS name, t.tgname, t.tgenabled
			FROM pg_catalog.pg_trigger AS t
			JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
			JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE NOT t.tgisinternal
		) AS g ON g.name = w.name
		WHERE g.tgname IS NULL OR g.tgenabled <> 'A'
		ORDER BY 1`, expectedTriggers)
	if err != nil {
		return Check{}, err
	}
	if len(missing) > 0 {
		commands := []string{psql("UPDATE iu_outbox.schema_info SET functions_hash = ''"), migrateUp}
		if !strings.HasSuffix(missing[0], " is missing") {
			table, rest, _ := strings.Cut(missing[0], ": ")
			trigger, _, _ := strings.Cut(rest, " ")
			commands = []string{psql(fmt.Sprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, trigger))}
		}
		return failed("%s disabled or missing: notifications, emissions or dead letters get lost",
			operate.Plural(len(missing), "trigger is", "triggers are")).
			with(missing).so("enable or reinstall it, then look for what was lost", append(commands, "iuworker verify")...), nil
	}
	var role string
	err = tx.QueryRow(ctx, "SELECT pg_catalog.current_setting('session_replication_role')").Scan(&role)
	if err == nil && role != "origin" {
		return failed("this login has session_replication_role = %s: no trigger fires for what it writes", role).
			so("reset it for this login or database", psql("ALTER ROLE "+pgx.Identifier{e.cfg.Pool.Config().ConnConfig.User}.Sanitize()+
				" RESET session_replication_role")), nil
	}
	return fine("all %d are present and always enabled", len(expectedTriggers)), err
}

// outdated is a collation whose rules may have changed since indexes were built by it.
type outdated struct {
	Name              string // quoted; "": the database's own
	Recorded, Present string
}

// The database's collation, and those of columns in indexes of ours.
const outdatedSQL = `
	SELECT '', d.datcollversion, COALESCE(pg_catalog.pg_database_collation_actual_version(d.oid), 'unknown')
	FROM pg_catalog.pg_database AS d
	WHERE d.datname = pg_catalog.current_database()
	  AND d.datcollversion <> COALESCE(pg_catalog.pg_database_collation_actual_version(d.oid), 'unknown')
	UNION ALL
	SELECT pg_catalog.format('%I.%I', n.nspname, c.collname), c.collversion, COALESCE(pg_catalog.pg_collation_actual_version(c.oid), 'unknown')
	FROM pg_catalog.pg_collation AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
	WHERE c.collversion <> COALESCE(pg_catalog.pg_collation_actual_version(c.oid), 'unknown')
	  AND EXISTS (
		SELECT FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
		JOIN pg_catalog.pg_namespace AS s ON s.oid = t.relnamespace
		WHERE c.oid = ANY (i.indcollation::oid[]) AND (s.nspname IN ('iu_outbox', 'iu_river')
			OR s.nspname = 'public' AND (t.relname LIKE 'iu\_%' OR t.relname IN ('dot_config', 'event_type_registry', 'event_route'))))
	ORDER BY 1
	LIMIT 20`

// collations finds collations whose rules changed with the operating system: indexes then miss rows, and unique keys admit
// duplicates.
func (e *examination) collations(ctx context.Context, tx pgx.Tx) (Check, error) {
	changed, err := structs[outdated](ctx, tx, outdatedSQL)
	if err != nil || len(changed) == 0 {
		return fine("the server sorts text as it did when the indexes were built"), err
	}
	var details []string
	quoted := pgx.Identifier{e.database}.Sanitize()
	next := []string{psql("REINDEX DATABASE CONCURRENTLY " + quoted)}
	for _, c := range changed {
		name, refresh := "collation "+c.Name, "ALTER COLLATION "+c.Name+" REFRESH VERSION"
		if c.Name == "" {
			name, refresh = "database "+quoted, "ALTER DATABASE "+quoted+" REFRESH COLLATION VERSION"
		}
		details = append(details, fmt.Sprintf("%s: built with version %s, and the server has %s", name, c.Recorded, c.Present))
		next = append(next, psql(refresh))
	}
	return warn("the server no longer sorts text as it did when the indexes were built: unique keys may let duplicates in").
		with(details).so("rebuild the indexes first, then record the new version, then run iuworker verify", append(next, "iuworker verify")...), nil
}

func (e *examination) conformance(ctx context.Context, tx pgx.Tx) (Check, error) {
	report, err := conformance.Scan(ctx, tx)
	if err != nil || report.Passed() {
		return fine("D9: %s, %s", report.Verdict, report.Core), err
	}
	var details []string
	for _, object := range report.Objects {
		if object.Result == conformance.Fail {
			details = append(details, strings.TrimSpace(fmt.Sprintf("%s %s: %s", object.Class, object.Name, object.Note)))
		}
	}
	return failed("D9: %s, %s", report.Verdict, report.Core).with(details).
		so("iu-core is not as expected: "+migrateUp+" creates what is missing, or a backup has it", "iuworker conformance"), nil
}
