package doctor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// The doctor does not report a row as missing if row security may hide it.
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
