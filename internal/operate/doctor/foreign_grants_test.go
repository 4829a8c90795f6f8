package doctor_test

import (
	"strings"
	"testing"

	iusql "github.com/iu-core/iuworker/sql"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/conformance"
)

// The report lists each grant to another role, with the REVOKE that removes it.
func TestDoctorNamesForeignGrants(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	anon := db.Name + "_anon"
	db.Exec(t, "CREATE ROLE "+anon)
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY "+anon+"; DROP ROLE "+anon) })
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "foreign grants").Result)
	db.Exec(t, `GRANT SELECT, DELETE ON iu_outbox.emission, iu_outbox.event, iu_river.river_job TO `+anon+`;
		GRANT UPDATE (value) ON dot_config TO `+anon+`; GRANT EXECUTE ON FUNCTION iu_outbox.emit(integer, bigint) TO PUBLIC;
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

	report, err := conformance.Scan(t.Context(), db.Pool)
	require.NoError(t, err)
	require.Empty(t, report.ForeignGrants)
}

// The report also lists the privileges that the owner of the functions lacks, because they run as that role.
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
