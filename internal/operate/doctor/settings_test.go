package doctor_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

//nolint:tparallel,paralleltest // the settings of a login apply to the whole server: one case at a time
func TestDoctorNamesSettingsThatGetInTheWay(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	for name, test := range map[string]struct {
		statements, says, next string
		result                 operate.Health
	}{
		"harmless": {
			"ALTER ROLE $login SET search_path = nowhere; ALTER ROLE $login IN DATABASE $db SET jit = off; ALTER DATABASE $db SET statement_timeout = '30s'",
			"all harmless", "", operate.HealthOK,
		},
		"of a login": {
			"ALTER ROLE $login SET statement_timeout = '200ms'", "cut off", "ALTER ROLE \"$login\" RESET statement_timeout", operate.HealthWarn,
		},
		"without a unit": {"ALTER ROLE $login SET lock_timeout = 50", "cut off", "RESET lock_timeout", operate.HealthWarn},
		"of both": {
			"ALTER ROLE $login IN DATABASE $db SET synchronous_commit = off", "loses the latest commits",
			"ALTER ROLE \"$login\" IN DATABASE \"$db\" RESET synchronous_commit", operate.HealthWarn,
		},
		"of the database": {
			"ALTER DATABASE $db SET default_transaction_isolation = serializable", "40001",
			"ALTER DATABASE \"$db\" RESET default_transaction_isolation", operate.HealthWarn,
		},
		"read only": {
			"ALTER ROLE $login SET jit = on; ALTER ROLE $login SET default_transaction_read_only = true",
			"nothing can be inserted", "RESET default_transaction_read_only", operate.HealthFail,
		},
		"no triggers": {
			"ALTER ROLE $login SET session_replication_role = replica", "bypass triggers", "RESET session_replication_role", operate.HealthFail,
		},
		"another's rights": {"ALTER ROLE $login SET role = iu_subscriber", "privileges of that role", "RESET role", operate.HealthWarn},
		"idle":             {"ALTER ROLE $login SET idle_session_timeout = '1min'", "LISTEN", "RESET idle_session_timeout", operate.HealthWarn},
	} {
		t.Run(name, func(t *testing.T) {
			fill := strings.NewReplacer("$login", login(t, db, "iu_app"), "$db", db.Name)
			db.Exec(t, fill.Replace(test.statements))
			t.Cleanup(func() { db.Exec(t, "ALTER DATABASE "+db.Name+" RESET ALL") })
			check := checked(t, examine(t, db.URLAs("iu_operator")), "settings")
			require.Equal(t, test.result, check.Result, "%+v", check)
			require.Contains(t, check.Says+strings.Join(check.Details, "\n"), test.says)
			require.Contains(t, check.Next, fill.Replace(test.next))
			if test.result != operate.HealthOK {
				runNext(t, db, check.Next)
				require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "settings").Result)
			}
		})
	}
}

// runNext runs the statements of one of the doctor's commands, as psql would.
func runNext(t *testing.T, db *iutest.DB, next string) {
	t.Helper()
	for command := range strings.SplitSeq(next, " && ") {
		statement, ok := strings.CutPrefix(command, "psql -c '")
		require.True(t, ok, command)
		db.Exec(t, strings.ReplaceAll(strings.TrimSuffix(statement, "'"), `'\''`, "'"))
	}
}

// The doctor ignores the settings of logins without our roles, and logins that have them for another database of the server.
func TestDoctorLeavesOthersLoginsAlone(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "ALTER ROLE "+login(t, db)+" SET session_replication_role = replica")
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "settings").Result)

	db, _ = iutest.Own(t)
	db.Exec(t, "CREATE ROLE elsewhere LOGIN NOINHERIT; GRANT iu_app TO elsewhere; ALTER ROLE elsewhere SET session_replication_role = replica")
	report := examine(t, db.URL)
	require.Equal(t, operate.HealthFail, checked(t, report, "settings").Result)
	require.Equal(t, operate.HealthWarn, checked(t, report, "logins").Result)
	db.Exec(t, "REVOKE CONNECT ON DATABASE "+db.Name+" FROM PUBLIC")
	report = examine(t, db.URL)
	require.Equal(t, operate.HealthOK, checked(t, report, "settings").Result)
	require.Equal(t, operate.HealthOK, checked(t, report, "logins").Result)
}
