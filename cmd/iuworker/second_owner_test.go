package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// The owner of a second database did not create the roles. From PostgreSQL 16 on, CREATEROLE alone does not let it grant them;
// what docs/deploy.md gives it does, on every version.
func TestTheOwnerOfAnotherDatabaseCreatesLogins(t *testing.T) {
	t.Parallel()
	iutest.New(t) // brings the roles
	db := iutest.Empty(t)
	db.Exec(t, "CREATE ROLE second_owner LOGIN CREATEROLE; ALTER DATABASE "+db.Name+" OWNER TO second_owner")
	t.Cleanup(func() {
		db.Exec(t, "DROP ROLE IF EXISTS second_shop; REASSIGN OWNED BY second_owner TO postgres; DROP OWNED BY second_owner; DROP ROLE second_owner")
	})
	owner := environment{"IUWORKER_DATABASE_URL": db.URLAs("second_owner")}
	require.Equal(t, exitDone, run(t, owner, "migrate", "up").code)

	const login = "CREATE ROLE second_shop LOGIN IN ROLE iu_app"
	psql := func(statement string) error {
		_, err := iutest.Program(t, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", db.URLAs("second_owner"), "-c", statement)
		return err
	}
	if db.Version(t) >= 16 {
		require.ErrorContains(t, psql(login), "permission denied to grant role")
	}
	blocks := blocksFor(t, "TestTheOwnerOfAnotherDatabaseCreatesLogins")
	require.Len(t, blocks, 1)
	db.Exec(t, blocks[0].text)
	require.NoError(t, psql(login))
	_, err := iutest.Program(t, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", db.URLAs("second_shop"), "-c", "SELECT * FROM iu_outbox.template")
	require.NoError(t, err)
}
