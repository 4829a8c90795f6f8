package iusql_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

// login creates a role that may only log in, for this test's database alone, because roles belong to the server.
func login(t testing.TB, db *iutest.DB) string {
	t.Helper()
	role := db.Name + "_migrator"
	db.Exec(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role) })
	return role
}

func TestMissingPrivilegesAreNamedOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	role := login(t, db)
	before := dump(t, db)

	_, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.ErrorIs(t, err, iusql.ErrPrivileges)
	require.EqualError(t, err, "database "+db.Name+" cannot be migrated, and nothing was changed: role "+role+
		" lacks CREATE on database "+db.Name+", CREATE on schema public; grant these, or migrate as a role that has them")
	sameDump(t, before, dump(t, db))

	db.Exec(t, "GRANT CREATE ON DATABASE "+db.Name+" TO "+role+"; GRANT CREATE ON SCHEMA public TO "+role)
	_, err = iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.NoError(t, err)
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
}

// A role that gets all the privileges that the error named can migrate somebody else's iu-core.
func TestMissingPrivilegesAreAllThatIsMissing(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	role := login(t, db)
	db.Exec(t, "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
	before := dump(t, db)

	_, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.ErrorIs(t, err, iusql.ErrPrivileges)
	for _, part := range []string{
		"CREATE on database " + db.Name,
		"CREATE on schema public",
		"TRIGGER on public.dot_config",
		"INSERT on public.dot_config",
		"INSERT on public.event_type_registry",
		"REFERENCES on public.iu_piece_collection",
		"REFERENCES on public.iu_collection_template_instance_lineage",
		"SELECT on public.iu_piece_membership",
		"INSERT on public.iu_piece_membership",
		"DELETE on public.iu_piece_collection",
		"EXECUTE on function public.fn_iu_compose(text, text, uuid[], text, text)",
	} {
		require.ErrorContains(t, err, part)
	}
	sameDump(t, before, dump(t, db))

	grant(t, db, role)
	_, err = iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.NoError(t, err)
	require.Equal(t, "instantiated", composeAs(t, db, role))

	db.Exec(t, "UPDATE iu_outbox.schema_info SET functions_hash = ''")
	result, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.NoError(t, err)
	require.True(t, result.Functions)

	// Only a table's owner may drop its triggers.
	cfg := config(t, db.URLAs(role))
	cfg.Force = true
	_, err = iusql.Down(t.Context(), cfg, 32)
	require.ErrorIs(t, err, iusql.ErrPrivileges)
	require.ErrorContains(t, err, "must be owner of relation dot_config")
	require.ErrorContains(t, err, "nothing was changed")
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
}

// grant gives a role the privileges that the error named, as an administrator would.
func grant(t testing.TB, db *iutest.DB, role string) {
	t.Helper()
	db.Exec(t, `
		GRANT CREATE ON DATABASE `+db.Name+` TO `+role+`;
		GRANT CREATE ON SCHEMA public TO `+role+`;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role+` WITH GRANT OPTION;
		GRANT INSERT, UPDATE, DELETE, TRIGGER, REFERENCES ON public.dot_config, public.event_type_registry, public.iu_piece_collection,
			public.iu_piece_membership, public.iu_collection_template_instance_lineage TO `+role+`;
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO `+role+` WITH GRANT OPTION;
		GRANT INSERT ON public.iu_audit TO `+role)
}

// composeAs composes one instance as a role, and returns the status.
func composeAs(t testing.TB, db *iutest.DB, role string) string {
	t.Helper()
	template := db.Template(t, "form", 2)
	db.OpenGates(t)
	conn, err := pgx.Connect(t.Context(), db.URLAs(role))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	var status string
	require.NoError(t, conn.QueryRow(t.Context(), `
		SELECT public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'test', $1, 'one', 'live', 'tester')->>'status'`,
		template).Scan(&status))
	return status
}

func TestUpOnCurrentSchemaNeedsNoPrivileges(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	role := login(t, db)
	db.Exec(t, "GRANT iu_worker TO "+role)
	result, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.NoError(t, err)
	require.Empty(t, result.Versions)
}

func TestBookkeepingThatMayNotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	role := login(t, db)
	for _, try := range []func() error{
		func() error { _, err := iusql.Up(t.Context(), config(t, db.URLAs(role))); return err },
		func() error { _, err := iusql.Status(t.Context(), config(t, db.URLAs(role))); return err },
	} {
		err := try()
		require.ErrorIs(t, err, iusql.ErrPrivileges)
		require.ErrorContains(t, err, "role "+role+" may not read the tables of schema iu_migration")
	}
	conn, err := pgx.Connect(t.Context(), db.URLAs(role))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	require.ErrorContains(t, iusql.CheckSchema(t.Context(), conn), "role "+role+" may not read iu_outbox.schema_info")
}

// Up cannot update an iu_outbox that somebody else owns.
func TestOwnershipIsNamed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	role := login(t, db)
	db.Exec(t, "GRANT iu_worker TO "+role+"; UPDATE iu_outbox.schema_info SET functions_hash = ''")
	_, err := iusql.Up(t.Context(), config(t, db.URLAs(role)))
	require.ErrorIs(t, err, iusql.ErrPrivileges)
	require.ErrorContains(t, err, "ownership of schema iu_outbox and what is in it")
}

// A role that an administrator creates later gets its grants from the next Up.
func TestUpGrantsToRolesMadeLater(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "REVOKE ALL ON SCHEMA iu_outbox FROM iu_subscriber") // as if it had not existed
	require.True(t, up(t, db).Functions)
	require.Empty(t, as(t, db, "iu_subscriber", "SELECT count(*) FROM iu_outbox.emission"))
	require.False(t, up(t, db).Functions, "nothing to do now")
}
