package operate_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

// Each grant that a stranger has is named, with the REVOKE that takes it away.
func TestDoctorNamesForeignGrants(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	anon := db.Name + "_anon"
	db.Exec(t, "CREATE ROLE "+anon)
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY "+anon+"; DROP ROLE "+anon) })
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "foreign grants").Result)
	db.Exec(t, `GRANT SELECT, DELETE ON iu_outbox.emission, iu_outbox.event, iu_river.river_job TO `+anon+`;
		GRANT UPDATE (value) ON dot_config TO `+anon+`; GRANT EXECUTE ON FUNCTION iu_outbox.emit(integer) TO PUBLIC;
		GRANT USAGE ON SCHEMA iu_outbox TO `+anon+`; GRANT SELECT ON iu_migration.origin TO `+anon+`; GRANT DELETE ON iu_outbox.event TO iu_app`)

	for _, role := range []string{"postgres", "iu_worker", "iu_operator", "iu_app"} {
		report := examine(t, db.URLAs(role))
		check := checked(t, report, "foreign grants")
		require.Equal(t, operate.HealthWarn, check.Result)
		require.Contains(t, check.Says, "3 roles have unexpected privileges on iuworker's objects: PUBLIC, iu_app, "+anon)
		for _, want := range []string{
			"PUBLIC has EXECUTE on FUNCTION iu_outbox.emit(",
			"iu_app has DELETE on TABLE iu_outbox.event: REVOKE DELETE ON TABLE iu_outbox.event FROM iu_app CASCADE",
			anon + " has USAGE on SCHEMA iu_outbox: REVOKE USAGE ON SCHEMA iu_outbox FROM " + anon + " CASCADE",
			anon + " has DELETE, SELECT on TABLE iu_outbox.emission, iu_outbox.event, iu_river.river_job: REVOKE DELETE, SELECT ON TABLE " +
				"iu_outbox.emission, iu_outbox.event, iu_river.river_job FROM " + anon + " CASCADE",
			"UPDATE (value) on TABLE public.dot_config: REVOKE UPDATE (value) ON TABLE public.dot_config FROM " + anon + " CASCADE",
			anon + " has SELECT on TABLE iu_migration.origin",
		} {
			require.Contains(t, strings.Join(check.Details, "\n"), want)
		}
		require.Contains(t, check.Next, "psql -d '"+db.Name+"' -c 'REVOKE ")
	}
	for _, detail := range checked(t, examine(t, db.URL), "foreign grants").Details {
		db.Exec(t, detail[strings.Index(detail, ": ")+2:])
	}
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "foreign grants").Result)

	report, err := operate.Conformance(t.Context(), db.Pool)
	require.NoError(t, err)
	require.Empty(t, report.ForeignGrants)
}

// Conformance lists them beside the seven classes.
func TestConformanceNamesForeignGrants(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "GRANT UPDATE ON dot_config TO PUBLIC")
	report, err := operate.Conformance(t.Context(), db.Pool)
	require.NoError(t, err)
	require.True(t, report.Passed())
	require.Equal(t, []iusql.ForeignGrant{{
		Grantee: "PUBLIC", Kind: "TABLE", Privileges: []string{"UPDATE"}, Objects: []string{"public.dot_config"},
		Statement: "REVOKE UPDATE ON TABLE public.dot_config FROM PUBLIC CASCADE",
	}}, report.ForeignGrants)
}

// A member that does not inherit is told what helps on this server, for this database.
func TestDoctorNamesLoginsThatDoNotInherit(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	var version int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::integer / 10000").Scan(&version))
	db.Exec(t, `CREATE ROLE direct LOGIN NOINHERIT; GRANT iu_worker TO direct;
		CREATE ROLE "Team" NOINHERIT; GRANT iu_worker TO "Team"; CREATE ROLE "through it" LOGIN; GRANT "Team" TO "through it";
		CREATE ROLE bare LOGIN NOINHERIT; CREATE ROLE whole LOGIN; GRANT iu_worker TO whole`)
	if version >= 16 {
		db.Exec(t, `CREATE ROLE apart LOGIN; GRANT iu_worker TO apart WITH INHERIT FALSE`)
	}
	logins := checked(t, examine(t, db.URL), "logins")
	require.Equal(t, operate.HealthWarn, logins.Result)
	for login, says := range map[string]string{
		"direct":     "user direct is a member of iu_worker and does not inherit its privileges",
		"through it": "user through it is a member of iu_worker and does not inherit its privileges",
		"apart":      "user apart is a member of iu_worker and does not inherit its privileges",
		"bare":       "user bare can neither run workers nor operate in database " + db.Name,
	} {
		if login == "apart" && version < 16 {
			continue
		}
		check := checked(t, examine(t, db.URLAs(login)), "privileges")
		require.Equal(t, operate.HealthFail, check.Result)
		require.Equal(t, says, check.Says)
		before, statement, _ := strings.Cut(check.Next, " -c '")
		require.Equal(t, "psql -d '"+db.Name+"'", before)
		if login != "bare" {
			require.Contains(t, strings.Join(logins.Details, "\n"), login+" is a member of iu_worker")
		}
		db.Exec(t, strings.TrimSuffix(statement, "'"))
		require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URLAs(login)), "privileges").Result, login)
	}
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "logins").Result)
	require.Contains(t, checked(t, examine(t, db.URLAs("whole")), "privileges").Says, "user whole can run workers")
}

// What the owner of the functions lacks is named, too: they run as it.
func TestDoctorNamesWhatTheOwnerLacks(t *testing.T) {
	t.Parallel()
	iutest.New(t) // for the roles, which belong to the server
	db := iutest.Empty(t)
	owner := db.Name + "_owner"
	db.Exec(t, "CREATE ROLE "+owner+" LOGIN; GRANT CREATE ON DATABASE "+db.Name+" TO "+owner+"; GRANT CREATE ON SCHEMA public TO "+owner)
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY "+owner+" CASCADE; DROP ROLE "+owner) })
	conn, err := pgx.ParseConfig(db.URLAs(owner))
	require.NoError(t, err)
	_, err = iusql.Up(t.Context(), iusql.Config{ConnConfig: conn})
	require.NoError(t, err)
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "privileges").Result)

	db.Exec(t, "REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM "+owner)
	check := checked(t, examine(t, db.URL), "privileges")
	require.Equal(t, operate.HealthFail, check.Result)
	require.Contains(t, strings.Join(check.Details, "\n"), "owner lacks USAGE on SCHEMA public in database "+db.Name+": GRANT USAGE ON SCHEMA public TO "+owner)
	_, err = iusql.Up(t.Context(), iusql.Config{ConnConfig: conn})
	require.ErrorIs(t, err, iusql.ErrPrivileges)
	require.ErrorContains(t, err, "USAGE on schema public")

	admin, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	_, err = iusql.Up(t.Context(), iusql.Config{ConnConfig: admin})
	require.NoError(t, err)
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "privileges").Result)
}

// Row security: the doctor calls nothing missing that may be hidden.
func TestDoctorNamesRowSecurity(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Exec(t, "ALTER TABLE iu_outbox.event ENABLE ROW LEVEL SECURITY; ALTER TABLE iu_river.river_job ENABLE ROW LEVEL SECURITY")
	for _, role := range []string{"postgres", "iu_worker", "iu_operator"} {
		report := examine(t, db.URLAs(role))
		check := checked(t, report, "row security")
		require.Equal(t, operate.HealthFail, check.Result)
		require.Equal(t, []string{"iu_outbox.event", "iu_river.river_job"}, check.Details)
		require.Equal(t, "iuworker migrate up", check.Next)
		if role != "postgres" {
			require.Equal(t, operate.HealthFail, checked(t, report, "schema").Result)
			require.Contains(t, checked(t, report, "schema").Says, "row security of iu_outbox.event, iu_river.river_job may hide rows from role "+role)
			require.Contains(t, checked(t, report, "jobs").Says, "row security would hide rows")
		}
	}
	db.Exec(t, `ALTER TABLE iu_outbox.event DISABLE ROW LEVEL SECURITY; ALTER TABLE iu_river.river_job DISABLE ROW LEVEL SECURITY;
		ALTER TABLE dot_config ENABLE ROW LEVEL SECURITY`)
	require.Equal(t, operate.HealthWarn, checked(t, examine(t, db.URL), "row security").Result, "the owner is a superuser")
}
