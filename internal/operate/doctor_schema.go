package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	iusql "github.com/iu-core/iuworker/sql"
)

// reinstall installs functions, triggers and grants again.
var reinstall = []string{psql("UPDATE iu_outbox.schema_info SET functions_hash = ''"), migrateUp}

// schemaMissing returns why the worker's schema cannot be asked; "" if it can.
func (e *examination) schemaMissing(ctx context.Context) string {
	var missing []string
	err := e.row(ctx, []any{&missing}, `
		SELECT COALESCE(pg_catalog.array_agg(s.name) FILTER (WHERE n.oid IS NULL), '{}')
		FROM pg_catalog.unnest(ARRAY['iu_outbox', 'iu_river']) AS s (name)
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = s.name`)
	switch {
	case err != nil:
		return "unknown whether the schema exists: " + e.cfg.Explain(err)
	case len(missing) > 0:
		return "there is no schema " + strings.Join(missing, " and no ")
	}
	return ""
}

func (e *examination) schema(ctx context.Context) (DoctorCheck, error) {
	var schema *iusql.Schema
	var current error
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		if schema, err = iusql.InspectSchema(ctx, tx); err == nil {
			current = iusql.CheckSchema(ctx, tx)
		}
		return err
	})
	switch {
	case errors.Is(err, iusql.ErrPrivileges):
		return skipped("%s", err), nil
	case errors.Is(err, iusql.ErrRowSecurity):
		return failed("%s", err).so("turn row security off as the owner of these tables", migrateUp), nil
	case err != nil:
		return DoctorCheck{}, err
	}
	return judgeSchema(schema, current), nil
}

func judgeSchema(schema *iusql.Schema, current error) DoctorCheck {
	switch {
	case errors.Is(current, iusql.ErrSchemaMissing):
		return failed("this database has no iuworker schema").so("check that this is the right database, then create the schema", migrateUp)
	case errors.Is(current, iusql.ErrSchemaOld):
		return failed("%s", current).so("migrate the schema; running workers can continue meanwhile", migrateUp)
	case current != nil:
		return failed("%s", current).so("use the iuworker that created it, or a newer one", "iuworker version")
	case schema.Newer():
		return warn("a newer iuworker created the schema (%d, functions of %s), and this is %s: they work together",
			schema.Version, schema.FunctionsVersion, iusql.ProgramVersion).so("finish the update: install the newer iuworker here, too")
	}
	return fine("version %d, functions of %s", schema.Version, schema.FunctionsVersion)
}

// expectedTriggers are those through which events pass, by table.
var expectedTriggers = []string{
	"iu_outbox.event: event_doorbell", "iu_outbox.event: event_removed", "iu_outbox.event: event_truncated",
	"iu_outbox.emission: emission_doorbell", "iu_outbox.consumer: iu_outbox_last_event_moved",
	"iu_river.river_job: iu_outbox_dead_letter_on_delete", "iu_river.river_job: iu_outbox_dead_letter_on_end",
	"iu_river.river_job: iu_outbox_said_again",
	"iu_river.river_job: iu_outbox_due_now",
	"public.dot_config: iu_outbox_gate_bell",
	"public.iu_auto_instantiate_event_log: iu_outbox_emission_rolled_back",
	"public.iu_auto_instantiate_event_log: iu_outbox_emission_written",
}

// triggers that are missing or switched off lose doorbells, emissions or dead letters without a word.
func (e *examination) triggers(ctx context.Context) (DoctorCheck, error) {
	missing, err := e.texts(ctx, `
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
		return DoctorCheck{}, err
	}
	var role string
	if err := e.row(ctx, []any{&role}, "SELECT pg_catalog.current_setting('session_replication_role')"); err != nil {
		return DoctorCheck{}, err
	}
	switch {
	case len(missing) > 0:
		commands := slices.Clone(reinstall)
		if !strings.HasSuffix(missing[0], " is missing") {
			table, rest, _ := strings.Cut(missing[0], ": ")
			trigger, _, _ := strings.Cut(rest, " ")
			commands = []string{psql(fmt.Sprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, trigger))}
		}
		return failed("%s disabled or missing: notifications, emissions or dead letters get lost", counts(len(missing), "trigger is", "triggers are")).
			with(missing).so("enable or reinstall it, then look for what was lost", append(commands, "iuworker verify")...), nil
	case role != "origin":
		return failed("this login has session_replication_role = %s: no trigger fires for what it writes", role).
			so("reset it for this login or database", psql("ALTER ROLE "+pgx.Identifier{e.cfg.Pool.Config().ConnConfig.User}.Sanitize()+
				" RESET session_replication_role")), nil
	}
	return fine("all %d are present and always enabled", len(expectedTriggers)), nil
}

// indexes that are not valid were left by an index build that failed; one that is being built now is none of those.
func (e *examination) indexes(ctx context.Context) (DoctorCheck, error) {
	invalid, err := e.texts(ctx, `
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
		next = "DROP INDEX CONCURRENTLY " + invalid[0] // a leftover of REINDEX, beside the index itself
	}
	return failed("%s not valid: queries do not use it, or rows get past it", counts(len(invalid), "index is", "indexes are")).
		with(invalid).so("rebuild it, or drop it if a failed rebuild left it behind", psql(next)), nil
}

func (e *examination) conformance(ctx context.Context) (DoctorCheck, error) {
	var report ConformanceReport
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		report, err = Conformance(ctx, tx)
		return err
	})
	if err != nil {
		return DoctorCheck{}, err
	}
	if report.Passed() {
		return fine("D9: %s, %s", report.Verdict, report.Core), nil
	}
	var details []string
	for _, object := range report.Objects {
		if object.Result == ResultFail {
			details = append(details, strings.TrimSpace(fmt.Sprintf("%s %s: %s", object.Class, object.Name, object.Note)))
		}
	}
	return failed("D9: %s, %s", report.Verdict, report.Core).with(details).
		so("iu-core is not as expected: "+migrateUp+" creates what is missing, or a backup has it", "iuworker conformance"), nil
}
