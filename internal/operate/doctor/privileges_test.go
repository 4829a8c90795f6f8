package doctor_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// login creates a login with some of our roles, and returns its name.
func login(t *testing.T, db *iutest.DB, roles ...string) string {
	t.Helper()
	name := "login_" + db.Name
	db.Exec(t, "CREATE ROLE "+name+" LOGIN")
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY "+name+"; DROP ROLE "+name) })
	for _, role := range roles {
		db.Exec(t, "GRANT "+role+" TO "+name)
	}
	return name
}

// For a member that does not inherit, the report has the statement that works on this server and in this database.
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
