package iusql_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

// securing switches row security on for each new table, as the event triggers of managed services do.
func securing(t testing.TB, db *iutest.DB, tags string) {
	t.Helper()
	db.Exec(t, `
		CREATE SCHEMA guard;
		CREATE FUNCTION guard.secure() RETURNS event_trigger LANGUAGE plpgsql AS $$
		DECLARE
			v_table record;
		BEGIN
			FOR v_table IN SELECT d.objid FROM pg_event_trigger_ddl_commands() AS d JOIN pg_class AS c ON c.oid = d.objid
			               WHERE c.relkind IN ('r', 'p') AND NOT c.relrowsecurity LOOP
				EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table.objid::regclass);
			END LOOP;
		END $$;
		GRANT USAGE ON SCHEMA guard TO PUBLIC;
		CREATE EVENT TRIGGER secure_tables ON ddl_command_end WHEN TAG IN (`+tags+`) EXECUTE FUNCTION guard.secure()`)
}

const secured = "SELECT oid::regclass::text FROM pg_class WHERE relrowsecurity OR relforcerowsecurity ORDER BY 1"

// A login that is no superuser can migrate if an event trigger enables, and forces, row security on each new table.
func TestRowSecurityIsOffForWhatIsOurs(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	role := login(t, db)
	db.Exec(t, "GRANT CREATE ON DATABASE "+db.Name+" TO "+role+"; GRANT CREATE ON SCHEMA public TO "+role)
	securing(t, db, "'CREATE TABLE'")
	_, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.NoError(t, err)
	require.Empty(t, rows(t, db, secured))
	require.Equal(t, []string{"1 34 true"}, rows(t, db, `
		SELECT count(*) || ' ' || (SELECT min(version_id) FILTER (WHERE version_id > 33) FROM iu_migration.goose_db_version)
		       || ' ' || (SELECT count(*) = 8 FROM iu_river.river_migration) FROM iu_outbox.emission_counter`))
	require.Equal(t, "instantiated", composeAs(t, db, role))
	require.Equal(t, []string{"emitted"}, rows(t, db, "SELECT state FROM iu_outbox.emit(1)"))
}

// The files of iu-core work under psql in such a database.
func TestRowSecurityIsOffUnderPsql(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	role := login(t, db)
	db.Exec(t, "GRANT CREATE ON SCHEMA public TO "+role)
	securing(t, db, "'CREATE TABLE'")
	for _, file := range []string{baselineSQL, instantiateSQL} {
		_, err := iutest.Program(t, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", db.URLAs(role), "-f", file)
		require.NoError(t, err)
	}
	require.Empty(t, rows(t, db, secured))
	require.Equal(t, "instantiated", composeAs(t, db, role))
}

// If an event trigger switches row security on again at once, Up stops and names the trigger.
func TestRowSecurityThatComesBackIsNamed(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	securing(t, db, "'CREATE TABLE', 'ALTER TABLE'")
	_, err := iusql.Up(t.Context(), config(t, db.URL))
	require.ErrorContains(t, err, "an event trigger (secure_tables) switches row security of ")
	db.Exec(t, "ALTER EVENT TRIGGER secure_tables DISABLE")
	up(t, db)
	require.Empty(t, rows(t, db, secured))
}

// If row security comes later, hidden rows are not taken for missing ones, and Up switches it off.
func TestHiddenRowsAreNotMissing(t *testing.T) {
	t.Parallel()
	iutest.New(t) // for the roles, which belong to the server
	db := iutest.Empty(t)
	role := login(t, db)
	db.Exec(t, "GRANT CREATE ON DATABASE "+db.Name+" TO "+role+"; GRANT CREATE ON SCHEMA public TO "+role)
	cfg := config(t, db.URLAs(role))
	_, err := iusql.Up(t.Context(), cfg)
	require.NoError(t, err)
	before := dump(t, db)
	for _, row := range rows(t, db, "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname ~ '^iu_'") {
		db.Exec(t, "ALTER TABLE "+row+" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
	}
	for _, try := range []func() error{
		func() error { _, err := iusql.Status(t.Context(), cfg); return err },
		func() error { return iusql.Print(t.Context(), cfg, new(strings.Builder)) },
		func() error { _, err := iusql.Down(t.Context(), cfg, 32); return err },
	} {
		err := try()
		require.ErrorIs(t, err, iusql.ErrRowSecurity)
		require.ErrorContains(t, err, "row security of iu_migration.goose_db_version, iu_migration.origin may hide rows from role "+role+
			": run iuworker migrate up as their owner, which switches it off")
	}
	for _, user := range []string{"iu_worker", "iu_operator", "iu_subscriber", "iu_app"} {
		conn, err := pgx.Connect(t.Context(), db.URLAs(user))
		require.NoError(t, err)
		err = iusql.CheckSchema(t.Context(), conn)
		require.ErrorIs(t, err, iusql.ErrRowSecurity)
		require.Regexp(t, "^row security of iu_.* may hide rows from role "+user+": run iuworker migrate up", err.Error())
		require.NoError(t, conn.Close(t.Context()))
	}
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool), "a superuser passes it")

	result, err := iusql.Up(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, result.Versions)
	sameDump(t, before, dump(t, db))
}

// Functions raise an error if rows would be hidden from them. Otherwise they would take a hidden emission for a
// pruned one, a gate for closed, or a consumer for deleted.
func TestFunctionsRaiseWhereRowsAreHidden(t *testing.T) {
	t.Parallel()
	iutest.New(t) // for the roles, which belong to the server
	db := iutest.Empty(t)
	role := login(t, db)
	db.Exec(t, "GRANT CREATE ON DATABASE "+db.Name+" TO "+role+"; GRANT CREATE ON SCHEMA public TO "+role)
	_, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.NoError(t, err)
	require.Equal(t, "instantiated", composeAs(t, db, role))
	db.Exec(t, "UPDATE iu_outbox.attendance SET attended = 1e6, resumed = 0, grace = 0") // so that prune_emissions reads the emissions
	for _, test := range []struct{ table, as, call string }{
		{"iu_outbox.emission", "iu_subscriber", "iu_outbox.cursor_state(NULL, -1)"},
		{"iu_outbox.emission_counter", "iu_subscriber", "iu_outbox.cursor_state(NULL, -1)"},
		{"iu_outbox.epoch", "iu_subscriber", "iu_outbox.cursor_state('00000000', 1)"},
		{"iu_outbox.consumer", "iu_subscriber", "iu_outbox.hold_consumer('c', 'p', '1 s')"},
		{"iu_outbox.consumer", "iu_worker", "iu_outbox.prune_emissions('1 s', '1 s', 100)"},
		{"iu_outbox.event", "iu_worker", "iu_outbox.claim(1)"},
		{"iu_outbox.emission_counter", "iu_worker", "iu_outbox.emit(1)"},
		{"iu_river.river_job", "iu_worker", "iu_outbox.resume_parked(1)"},
		{"iu_outbox.dead_letter", "iu_operator", "iu_outbox.event_state(gen_random_uuid())"},
		{"public.dot_config", "iu_operator", "iu_outbox.gate_status()"},
		{"public.dot_config", "iu_worker", "fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', gen_random_uuid(), 's', 'live', 'a')"},
		{"public.iu_auto_instantiate_event_log", "iu_operator", "fn_iu_auto_instantiate_rollback_by_actor('tester', true)"},
	} {
		db.Exec(t, "ALTER TABLE "+test.table+" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
		conn, err := pgx.Connect(t.Context(), db.URLAs(test.as))
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "SELECT * FROM "+test.call)
		require.True(t, iusql.RefusedByRowSecurity(err), "%s: %v", test.call, err)
		require.NoError(t, conn.Close(t.Context()))
		db.Exec(t, "ALTER TABLE "+test.table+" DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
	}
}

// An adopted core's row security is its own: Up reports beforehand that it would hide rows from the functions.
func TestRowSecurityOfAnAdoptedCoreIsNamed(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	role := login(t, db)
	grant(t, db, role)
	db.Exec(t, "ALTER TABLE dot_config ENABLE ROW LEVEL SECURITY; CREATE POLICY shops ON dot_config USING (key LIKE 'shop%')")
	before := dump(t, db)
	_, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.ErrorIs(t, err, iusql.ErrRowSecurity)
	require.ErrorContains(t, err, "row security of public.dot_config may hide rows from role "+role+"; run as a superuser: ALTER ROLE \""+role+"\" BYPASSRLS")
	sameDump(t, before, dump(t, db))

	db.Exec(t, "ALTER ROLE "+role+" BYPASSRLS")
	_, err = iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.NoError(t, err)
	require.Equal(t, []string{"public.dot_config"}, rows(t, db, "SELECT 'public.' || relname FROM pg_class WHERE relrowsecurity"))
	require.Equal(t, "instantiated", composeAs(t, db, role))
}
