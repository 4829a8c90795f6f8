package iusql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

// stranger creates a role that may log in and has no privileges, for this test's database alone.
func stranger(t testing.TB, db *iutest.DB) string {
	t.Helper()
	role := db.Name + "_anon"
	db.Exec(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role) })
	return role
}

// giveByDefault grants roles everything that is created from now on, as managed services do, in one schema and in all.
func giveByDefault(t testing.TB, db *iutest.DB, creator string, roles ...string) {
	t.Helper()
	for _, role := range roles {
		for _, where := range []string{"IN SCHEMA public", ""} {
			for _, kind := range []string{"TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"} {
				if kind == "SCHEMAS" && where != "" {
					continue
				}
				option := "WITH GRANT OPTION"
				if role == "PUBLIC" {
					option = "" // PUBLIC cannot have it
				}
				db.Exec(t, fmt.Sprintf("ALTER DEFAULT PRIVILEGES FOR ROLE %s %s GRANT ALL ON %s TO %s %s", creator, where, kind, role, option))
			}
		}
	}
}

// held returns the privileges on our objects that are granted to a role, or to PUBLIC ("").
func held(t testing.TB, db *iutest.DB, grantee string) []string {
	t.Helper()
	result, err := db.Pool.Query(t.Context(), `
		SELECT DISTINCT format('%s on %s', g.privilege_type, o.name)
		FROM (
			SELECT n.nspname AS schema, n.nspname::text AS name, n.nspacl AS acl, n.nspowner AS owner FROM pg_namespace AS n
			UNION ALL SELECT n.nspname, c.oid::regclass::text, c.relacl, c.relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			UNION ALL SELECT n.nspname, c.oid::regclass || '.' || a.attname, a.attacl, c.relowner
				FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
			UNION ALL SELECT n.nspname, p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
				FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
			UNION ALL SELECT n.nspname, t.oid::regtype::text, coalesce(t.typacl, acldefault('T', t.typowner)), t.typowner
				FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE t.typtype = 'e'
		) AS o CROSS JOIN aclexplode(o.acl) AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee
		WHERE (o.schema IN ('iu_outbox', 'iu_river', 'iu_migration') OR o.schema = 'public' AND o.name <> 'public')
		  AND coalesce(r.rolname, '') = $1 AND g.grantee <> o.owner
		ORDER BY 1`, grantee)
	require.NoError(t, err)
	all, err := pgx.CollectRows(result, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

var ourRoles = []string{"iu_app", "iu_worker", "iu_operator", "iu_subscriber"}

// Whatever default privileges a database has, created objects end up with exactly the intended grants, and already
// have them when each transaction on the way commits.
func TestDefaultPrivilegesGiveNothing(t *testing.T) {
	t.Parallel()
	want := map[string][]string{}
	plain := iutest.New(t)
	for _, role := range ourRoles {
		want[role] = held(t, plain, role)
		require.NotEmpty(t, want[role])
	}
	require.Empty(t, held(t, plain, ""))

	db := iutest.Empty(t)
	anon := stranger(t, db)
	giveByDefault(t, db, "postgres", append([]string{anon, "PUBLIC"}, ourRoles...)...)
	steps := strings.SplitAfter(printed(t, db), "\nCOMMIT;\n")
	for done := range steps {
		require.NoError(t, run(t, db, steps[done]), steps[done])
		require.Empty(t, held(t, db, anon), "after %s", lastComment(steps[done]))
		require.Empty(t, held(t, db, ""), "after %s", lastComment(steps[done]))
	}
	for _, role := range ourRoles {
		require.Equal(t, want[role], held(t, db, role), role)
	}
	for _, sql := range []string{
		"UPDATE dot_config SET value = 'true'", "INSERT INTO iu_piece (piece_key, body) VALUES ('x', '{}')",
		"SELECT fn_iu_auto_instantiate_rollback_by_actor('a', false)", "DELETE FROM iu_outbox.emission", "SELECT iu_outbox.claim(1)",
		"SELECT fn_iu_composer_enabled()", "SELECT 'x'::iu_river.river_job_state", "SELECT nextval('iu_outbox.ledger_entry_seq')",
		"SELECT FROM iu_migration.origin",
	} {
		require.Equal(t, denied, as(t, db, anon, sql), sql)
	}
	require.Empty(t, foreign(t, db))
}

func foreign(t testing.TB, db *iutest.DB) []iusql.ForeignGrant {
	t.Helper()
	found, err := iusql.ForeignGrants(t.Context(), db.Pool)
	require.NoError(t, err)
	return found
}

// The files of iu-core leave no privileges to others under psql, either.
func TestDefaultPrivilegesGiveNothingUnderPsql(t *testing.T) {
	t.Parallel()
	iutest.New(t) // for the roles, which belong to the server
	db := iutest.Empty(t)
	anon := stranger(t, db)
	giveByDefault(t, db, "postgres", append([]string{anon, "PUBLIC"}, ourRoles...)...)
	for _, file := range []string{baselineSQL, instantiateSQL} {
		_, err := iutest.Psql(t, db, "-f", file)
		require.NoError(t, err)
		for _, role := range append([]string{anon, ""}, ourRoles...) {
			require.Empty(t, held(t, db, role), "%s after %s", role, file)
		}
	}
	for _, file := range []string{"iu-outbox/034_outbox.sql", "iu-outbox/036_shared_database.sql"} {
		_, err := iutest.Psql(t, db, "-f", file)
		require.NoError(t, err)
	}
	require.Empty(t, held(t, db, anon))
	require.Empty(t, held(t, db, ""))
}

// Grants of an adopted core are reported, and stay.
func TestAnAdoptedCoreKeepsItsGrants(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	anon := stranger(t, db)
	db.Exec(t, "GRANT SELECT, UPDATE ON dot_config TO "+anon+"; GRANT SELECT (body) ON iu_piece TO "+anon+
		"; GRANT EXECUTE ON FUNCTION fn_iu_composer_enabled() TO "+anon)
	before := held(t, db, anon)
	giveByDefault(t, db, "postgres", anon)
	up(t, db)
	db.Exec(t, "UPDATE iu_outbox.schema_info SET functions_hash = ''")
	up(t, db)
	require.Equal(t, before, held(t, db, anon))
	found := foreign(t, db)
	statements := ""
	for _, f := range found {
		require.True(t, f.Adopted, "%+v", f)
		statements += f.Statement + "\n"
	}
	require.Contains(t, statements, "REVOKE SELECT, UPDATE ON TABLE public.dot_config FROM "+anon)
	require.Contains(t, statements, "REVOKE SELECT (body) ON TABLE public.iu_piece FROM "+anon)
	require.Contains(t, statements, "REVOKE EXECUTE ON FUNCTION public.fn_iu_composer_enabled() FROM "+anon)
}

// Grants made by hand after the installation survive later runs of Up, and are reported with the REVOKE to run.
func TestDeliberateGrantsStayAndAreNamed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	grafana := stranger(t, db)
	db.Exec(t, `GRANT USAGE ON SCHEMA iu_outbox TO `+grafana+`; GRANT SELECT ON iu_outbox.emission TO `+grafana+`;
		GRANT SELECT (detail, status) ON iu_outbox.dead_letter TO `+grafana+`; GRANT INSERT ON iu_piece TO `+grafana+`;
		GRANT EXECUTE ON FUNCTION iu_outbox.emit(integer, bigint) TO `+grafana+`; GRANT SELECT ON iu_outbox.ledger_entry_seq TO `+grafana+`;
		GRANT USAGE ON TYPE iu_river.river_job_state TO `+grafana+`; GRANT UPDATE ON iu_auto_instantiate_event_log TO PUBLIC;
		GRANT SELECT ON iu_outbox.event, iu_piece TO iu_app`)
	before := held(t, db, grafana)
	require.Len(t, before, 8)
	require.False(t, up(t, db).Functions, "nothing is missing")
	db.Exec(t, "UPDATE iu_outbox.schema_info SET functions_hash = ''")
	up(t, db)
	require.Equal(t, before, held(t, db, grafana))
	require.NotContains(t, held(t, db, "iu_app"), "SELECT on iu_outbox.event", "our roles have what is listed, in our schemas")
	require.Contains(t, held(t, db, "iu_app"), "SELECT on iu_outbox.event.id")

	for _, f := range foreign(t, db) {
		require.False(t, f.Adopted)
		db.Exec(t, f.Statement)
	}
	require.Empty(t, held(t, db, grafana))
	require.Empty(t, held(t, db, ""))
	require.Empty(t, foreign(t, db))
	require.NotContains(t, held(t, db, "iu_app"), "SELECT on iu_piece")
}

// 036 revokes what default privileges granted to an earlier installation, even if they are no longer set, and the
// next Up revokes what a restore granted.
func TestUpClosesWhatDefaultPrivilegesOpened(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	anon := stranger(t, db)
	db.Exec(t, `GRANT ALL ON SCHEMA iu_outbox, iu_river, iu_migration TO `+anon+`;
		GRANT ALL ON ALL TABLES IN SCHEMA iu_outbox, iu_river, iu_migration TO `+anon+`;
		GRANT ALL ON ALL SEQUENCES IN SCHEMA iu_outbox, iu_river, iu_migration TO `+anon+`;
		GRANT ALL ON ALL FUNCTIONS IN SCHEMA iu_outbox, iu_river TO `+anon+`, PUBLIC`)
	intended := held(t, db, "iu_worker")
	down(t, db, 35)
	up(t, db)
	require.Empty(t, held(t, db, anon))
	require.Empty(t, held(t, db, ""))
	require.Equal(t, intended, held(t, db, "iu_worker"))

	giveByDefault(t, db, "postgres", anon)
	db.Exec(t, "GRANT DELETE ON iu_outbox.emission TO "+anon)
	require.True(t, up(t, db).Functions)
	require.Empty(t, held(t, db, anon))
	require.False(t, up(t, db).Functions)
}

// Whatever is revoked from PUBLIC, the roles have the privileges that they need by their own grants.
func TestTheRolesNeedNothingOfPublic(t *testing.T) {
	t.Parallel()
	const hardened = `
		REVOKE ALL ON SCHEMA public FROM PUBLIC;
		ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
		ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC`
	for name, prepare := range map[string]func(t *testing.T) *iutest.DB{
		"before": func(t *testing.T) *iutest.DB {
			db := iutest.Empty(t)
			db.Exec(t, hardened+"; REVOKE TEMP ON DATABASE "+db.Name+" FROM PUBLIC")
			up(t, db)
			return db
		},
		"after": func(t *testing.T) *iutest.DB {
			db := iutest.New(t)
			db.Exec(t, hardened+"; REVOKE TEMP ON DATABASE "+db.Name+" FROM PUBLIC; REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public, iu_river FROM PUBLIC")
			return db
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := prepare(t)
			db.OpenGates(t)
			db.Template(t, "t", 1)
			require.Empty(t, as(t, db, "iu_app", `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
				SELECT 'e', id, 's' FROM iu_outbox.template`))
			require.Empty(t, as(t, db, "iu_worker", "SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', gen_random_uuid(), 's', 'live', 'a')",
				"SELECT iu_river.river_job_state_in_bitmask(B'11111111', 'available')", "SELECT * FROM iu_outbox.claim(1)",
				"INSERT INTO iu_river.river_job (kind, args, max_attempts, unique_key, unique_states) VALUES ('k', '{}', 1, '\\x01', B'11111111')"))
			require.Empty(t, as(t, db, "iu_operator", "SELECT * FROM v_iu_auto_instantiate_event_log",
				"INSERT INTO iu_river.river_job (kind, args, max_attempts, unique_key, unique_states) VALUES ('k', '{}', 1, '\\x02', B'11111111')"))
			missing, err := iusql.MissingGrants(t.Context(), db.Pool)
			require.NoError(t, err)
			require.Empty(t, missing)
			require.False(t, up(t, db).Functions, "nothing to do")
		})
	}
}

// Any revoked grant is reported, and the next Up grants it again.
func TestUpGrantsAgainWhatWasTakenAway(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	before := dump(t, db)
	var revoked, statements []string
	for revoke, what := range map[string]string{
		"USAGE ON SCHEMA iu_outbox FROM iu_worker": "iu_worker USAGE on SCHEMA iu_outbox",
		"EXECUTE ON FUNCTION iu_outbox.claim(integer, bigint[], bigint[]) FROM iu_worker": "iu_worker EXECUTE on FUNCTION iu_outbox." +
			"claim(p_limit integer, p_without bigint[], p_only bigint[])",
		"SELECT (id) ON iu_outbox.event FROM iu_app":                               "iu_app SELECT (id) on TABLE iu_outbox.event",
		"USAGE ON SEQUENCE iu_river.river_job_id_seq FROM iu_operator":             "iu_operator USAGE on SEQUENCE iu_river.river_job_id_seq",
		"SELECT ON iu_piece FROM iu_operator":                                      "iu_operator SELECT on TABLE public.iu_piece",
		"DELETE ON iu_outbox.consumer FROM iu_subscriber":                          "iu_subscriber DELETE on TABLE iu_outbox.consumer",
		"ALL ON FUNCTION public.fn_iu_composer_enabled() FROM iu_operator, PUBLIC": "iu_operator EXECUTE on FUNCTION public.fn_iu_composer_enabled()",
	} {
		revoked = append(revoked, revoke)
		db.Exec(t, "REVOKE "+revoke)
		missing, err := iusql.MissingGrants(t.Context(), db.Pool)
		require.NoError(t, err)
		require.Len(t, missing, 1, revoke)
		require.Equal(t, what, missing[0].Role+" "+missing[0].What)
		statements = append(statements, missing[0].Statement)
		require.True(t, up(t, db).Functions, revoke)
	}
	sameDump(t, before, dump(t, db))
	for _, revoke := range revoked {
		db.Exec(t, "REVOKE "+revoke)
	}
	for _, statement := range statements {
		db.Exec(t, statement)
	}
	sameDump(t, before, dump(t, db))
}

// The program runs the text of the views.
func TestTheViewsAreWhatTheProgramAsks(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	anon := stranger(t, db)
	db.Exec(t, "GRANT SELECT ON iu_outbox.event, iu_piece TO "+anon)
	require.Equal(t, []string{anon + " SELECT on iu_outbox.event", anon + " SELECT on public.iu_piece"},
		rows(t, db, "SELECT grantee || ' ' || privilege || ' on ' || object FROM iu_outbox.foreign_grant ORDER BY 1"))
	require.Empty(t, as(t, db, "iu_operator", "SELECT * FROM iu_outbox.foreign_grant, iu_outbox.intended_grant"))

	conn, err := pgx.Connect(t.Context(), db.URLAs(anon)) // may read neither view
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	found, err := iusql.ForeignGrants(t.Context(), conn)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, []string{"iu_outbox.event", "public.iu_piece"}, found[0].Objects)
	_, err = iusql.MissingGrants(t.Context(), conn)
	require.NoError(t, err)
}

// A line of the list that names no object would silently grant nothing.
func TestEveryListedGrantNamesSomething(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Empty(t, rows(t, db, `
		SELECT DISTINCT i.role || ': ' || i.privilege || ' on ' || i.name || COALESCE('(' || c.name || ')', '')
		FROM iu_outbox.listed_grant AS i LEFT JOIN unnest(i.columns) AS c (name) ON true
		WHERE NOT EXISTS (
			SELECT FROM iu_outbox.intended_grant AS g
			WHERE g.role = i.role AND g.kind = i.kind AND g.privilege = i.privilege
			  AND (c.name IS NULL OR g.column_name = c.name)
			  AND CASE i.kind
			      WHEN 'SCHEMA' THEN g.object = i.name
			      WHEN 'FUNCTION' THEN i.name LIKE '%.*' OR split_part(g.object, '(', 1) = split_part(i.name, '(', 1)
			          AND i.name = (SELECT n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')'
			                        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE p.oid = g.oid)
			      ELSE g.object LIKE replace(replace(i.name, '_', '\_'), '*', '%') END)
		ORDER BY 1`))
}
