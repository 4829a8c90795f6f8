package iusql_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

func file(t testing.TB, name string) string {
	t.Helper()
	content, err := iusql.Files.ReadFile(name)
	require.NoError(t, err)
	return string(content)
}

// adoptable creates an iu-core that is not ours, with a trigger that needs the search_path of the session that inserts.
func adoptable(t testing.TB) *iutest.DB {
	t.Helper()
	db := newCore(t, adoptedSQL).DB
	db.Exec(t, `
		CREATE TABLE public.iu_audit (what text, at timestamptz DEFAULT now());
		CREATE FUNCTION public.fn_iu_audit() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN INSERT INTO iu_audit (what) VALUES (TG_TABLE_NAME); RETURN NULL; END';
		CREATE TRIGGER audit AFTER INSERT ON public.dot_config FOR EACH ROW EXECUTE FUNCTION public.fn_iu_audit()`)
	return db
}

// statements splits a dump at its blank lines.
func statements(dump string) []string {
	return strings.FieldsFunc(strings.ReplaceAll(dump, "\n\n", "\x00"), func(r rune) bool { return r == 0 })
}

func TestAdoptedCoreStaysAsItWas(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	before := dump(t, db)
	// Inserted rows that were deleted again are still in the audit.
	dataOf := []string{"--data-only", "--inserts", "--exclude-schema=iu_migration", "--exclude-table-data=public.iu_audit"}
	data := dump(t, db, dataOf...)

	result := up(t, db)
	require.Equal(t, "adopted", origin(result, 32))
	require.Equal(t, "created", origin(result, 33))
	require.Equal(t, []string{"iu_core_032 adopted", "iu_core_033 created", "iu_river created"}, rows(t, db, origins))
	after := dump(t, db)
	for _, statement := range statements(before) {
		require.Contains(t, after, statement)
	}

	// Down leaves nothing but the bookkeeping.
	down(t, db, 32)
	sameDump(t, before, dump(t, db, "--exclude-schema=iu_migration"))
	sameDump(t, data, dump(t, db, dataOf...))
	up(t, db)
	sameDump(t, after, dump(t, db))
}

// A baseline that 032 created under psql is ours, not adopted.
func TestBaselineMadeByPsqlIsCreated(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, file(t, baselineSQL))
	require.Equal(t, "created", origin(up(t, db), 32))
	sameDump(t, dump(t, iutest.New(t)), dump(t, db))
}

// refused requires all of these texts in one error, and nothing to change.
func refused(t testing.TB, db *iutest.DB, kind error, parts ...string) {
	t.Helper()
	before := dump(t, db)
	_, err := iusql.Up(t.Context(), config(t, db.URL))
	require.ErrorIs(t, err, kind)
	for _, part := range parts {
		require.ErrorContains(t, err, part)
	}
	sameDump(t, before, dump(t, db))
}

func TestEverythingThatDiffersIsNamed(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	db.Exec(t, `
		DROP TABLE public.event_route;
		ALTER TABLE public.iu_piece_collection DROP COLUMN title;
		ALTER TABLE public.iu_collection_template_registry ALTER COLUMN is_template TYPE text;
		ALTER TABLE public.dot_config ADD COLUMN owner text NOT NULL DEFAULT 'x';
		ALTER TABLE public.dot_config ALTER COLUMN owner DROP DEFAULT;
		ALTER TABLE public.event_type_registry DROP CONSTRAINT event_type_registry_pkey;
		DROP FUNCTION public.fn_iu_compose(text, text, uuid[], text, text);
		CREATE FUNCTION public.fn_iu_compose(p_key text) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
		DROP FUNCTION public.fn_iu_composer_enabled();
		CREATE FUNCTION public.fn_iu_composer_enabled() RETURNS text LANGUAGE sql AS 'SELECT ''true''';
		DROP FUNCTION public.fn_iu_collection_mark_template(uuid, text, boolean);
		CREATE FUNCTION public.fn_iu_collection_mark_template(uuid, text, boolean) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
		DROP FUNCTION public.fn_iu_collection_digest(uuid);
		CREATE PROCEDURE public.fn_iu_collection_digest(uuid) LANGUAGE sql AS 'SELECT 1';
		DROP TABLE public.iu_collection_template_version;
		CREATE VIEW public.iu_collection_template_version AS SELECT 1 AS version`)
	refused(t, db, iusql.ErrConflict,
		"table public.event_route is missing",
		"column public.iu_piece_collection.title (text) is missing",
		"column public.iu_collection_template_registry.is_template has type text, not boolean",
		"column public.dot_config.owner is NOT NULL without a default",
		"column public.event_type_registry.event_type has no unique key",
		"function public.fn_iu_compose(text, text, uuid[], text, text) is missing, there is public.fn_iu_compose(text)",
		"function public.fn_iu_composer_enabled() returns text, not boolean",
		"function public.fn_iu_collection_mark_template(uuid, text, boolean) has 0 arguments with a default, not 1",
		"public.fn_iu_collection_digest(uuid) is not an ordinary function",
		"public.iu_collection_template_version is not a table",
		"nothing was changed")
}

func TestPartsOfABaselineAreNamed(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, `
		CREATE TABLE public.dot_config (key text);
		CREATE FUNCTION public.fn_iu_compose(text) RETURNS text LANGUAGE sql AS 'SELECT $1'`)
	refused(t, db, iusql.ErrConflict,
		"public.dot_config exists although public.iu_piece_collection does not",
		"public.fn_iu_compose(text) exists although public.iu_piece_collection does not")
}

func TestForeignSchemasAreRefused(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE SCHEMA iu_river; CREATE TABLE iu_river.river_job (id int); CREATE SCHEMA iu_outbox")
	refused(t, db, iusql.ErrConflict,
		"schema iu_outbox exists, and iuworker did not create it", "schema iu_river exists, and iuworker did not create it")
}

// instantiated creates a database with a 033 that psql created.
func instantiated(t testing.TB) *iutest.DB {
	t.Helper()
	db := iutest.Empty(t)
	db.Exec(t, file(t, baselineSQL))
	db.Exec(t, file(t, instantiateSQL))
	return db
}

func TestInstantiateThatIsThereIsAdoptedAndNeverDropped(t *testing.T) {
	t.Parallel()
	db := instantiated(t)
	before := dump(t, db)
	require.Equal(t, "adopted", origin(up(t, db), 33))

	down(t, db, 32)
	sameDump(t, before, dump(t, db, "--exclude-schema=iu_migration"))
	require.Equal(t, "adopted", origin(up(t, db), 33))
	sameDump(t, dump(t, iutest.New(t)), dump(t, db))

	// If its own rollback file removed 033 in the meantime, Up creates it.
	down(t, db, 32)
	db.Exec(t, file(t, uninstantiateSQL))
	require.Equal(t, "created", origin(up(t, db), 33))
}

func TestInstantiateThatDiffersIsNamed(t *testing.T) {
	t.Parallel()
	db := instantiated(t)
	db.Exec(t, `
		DROP VIEW public.v_iu_auto_instantiate_event_summary;
		CREATE OR REPLACE VIEW public.v_iu_auto_instantiate_event_summary AS SELECT 1 AS instances_total;
		DROP INDEX public.iu_auto_instantiate_event_log_event_id_idx;
		ALTER TABLE public.iu_auto_instantiate_event_log
			DROP CONSTRAINT iu_auto_instantiate_event_log_idempotency_key_key,
			DROP CONSTRAINT iu_auto_instantiate_event_log_emit_mode_check,
			DROP CONSTRAINT iu_auto_instantiate_event_log_instance_collection_id_fkey,
			ADD FOREIGN KEY (instance_collection_id)
				REFERENCES public.iu_collection_template_instance_lineage (instance_collection_id),
			ALTER COLUMN triggered_by DROP NOT NULL,
			ADD COLUMN tenant text NOT NULL;
		ALTER FUNCTION public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)
			SECURITY INVOKER SET search_path = public;
		GRANT EXECUTE ON FUNCTION public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) TO PUBLIC;
		DROP FUNCTION public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean);
		CREATE FUNCTION public.fn_iu_auto_instantiate_rollback_by_actor(p_who text, p_dry_run boolean)
			RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
		DELETE FROM public.dot_config WHERE key = 'iu_core.auto_instantiate_enabled';
		UPDATE public.event_type_registry SET delivery_lane = 'express'`)
	refused(t, db, iusql.ErrConflict,
		"column public.v_iu_auto_instantiate_event_summary.instances_total has type integer, not bigint",
		"column public.v_iu_auto_instantiate_event_summary.first_at (timestamp with time zone) is missing",
		"column public.iu_auto_instantiate_event_log.event_id has no index",
		"column public.iu_auto_instantiate_event_log.idempotency_key has no unique key",
		"column public.iu_auto_instantiate_event_log.emit_mode has no CHECK for dry_run and live",
		"column public.iu_auto_instantiate_event_log.instance_collection_id does not refer to "+
			"public.iu_collection_template_instance_lineage (instance_collection_id) ON DELETE CASCADE",
		"column public.iu_auto_instantiate_event_log.triggered_by may be NULL",
		"column public.iu_auto_instantiate_event_log.tenant is NOT NULL without a default",
		"is not SECURITY DEFINER",
		`has the search_path "public", not "pg_catalog, public, pg_temp"`,
		"may be executed by PUBLIC",
		"function public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean) has 0 arguments with a default, not 1",
		"has the arguments (p_who text, p_dry_run boolean), not (p_actor text, p_dry_run boolean)",
		"row iu_core.auto_instantiate_enabled of public.dot_config is missing",
		"has stream and lane update express, not update delayed")
}

// Constraints that rows may violate are none. PostgreSQL 18 added NOT ENFORCED keys and NOT NULL that is NOT VALID.
func TestInstantiateWhoseConstraintsDoNotHoldIsRefused(t *testing.T) {
	t.Parallel()
	const (
		table   = "ALTER TABLE public.iu_auto_instantiate_event_log "
		foreign = table + `DROP CONSTRAINT iu_auto_instantiate_event_log_template_collection_id_fkey,
			ADD FOREIGN KEY (template_collection_id) REFERENCES public.iu_piece_collection (id) `
		refusal = "the foreign key of column public.iu_auto_instantiate_event_log.template_collection_id is NOT VALID or NOT ENFORCED"
	)
	for name, test := range map[string]struct {
		since    int
		sql, why string
	}{
		"key NOT VALID":    {15, foreign + "NOT VALID", refusal},
		"key NOT ENFORCED": {18, foreign + "NOT ENFORCED", refusal},
		"check NOT ENFORCED": {18, table + "DROP CONSTRAINT iu_auto_instantiate_event_log_emit_mode_check, " +
			"ADD CHECK (emit_mode IN ('dry_run', 'live')) NOT ENFORCED", "emit_mode has no CHECK for dry_run and live"},
		"not null NOT VALID": {18, table + "ALTER triggered_by DROP NOT NULL; " + table + "ADD CONSTRAINT named NOT NULL triggered_by NOT VALID",
			"column public.iu_auto_instantiate_event_log.triggered_by may be NULL in old rows: its NOT NULL is NOT VALID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := instantiated(t)
			db.Since(t, test.since)
			db.Exec(t, test.sql)
			refused(t, db, iusql.ErrConflict, test.why)
		})
	}
}

func TestInstantiateThatIsThereInPartIsNamed(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, file(t, baselineSQL))
	db.Exec(t, "CREATE FUNCTION public.fn_iu_auto_instantiate_from_event() RETURNS void LANGUAGE sql AS ''")
	refused(t, db, iusql.ErrConflict,
		"table public.iu_auto_instantiate_event_log is missing",
		"view public.v_iu_auto_instantiate_event_log is missing",
		"view public.v_iu_auto_instantiate_event_summary is missing",
		"function public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) is missing",
		"function public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean) is missing",
		"row iu_core.auto_instantiate_enabled of public.dot_config is missing",
		"row iu.template.instance_auto_composed of public.event_type_registry is missing")
}
