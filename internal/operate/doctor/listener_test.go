package doctor_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

func TestDoctorBehindATransactionPooler(t *testing.T) {
	t.Parallel()
	db, elsewhere := iutest.New(t), iutest.Empty(t) // notifications do not cross databases: as through a pooler
	direct, err := pgx.ParseConfig(elsewhere.URL)
	require.NoError(t, err)
	check := checked(t, examine(t, db.URL, func(c *doctor.Config) { c.Direct = direct }), "listener")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Contains(t, check.Next, "--direct-database-url")

	direct.Port = 1
	check = checked(t, examine(t, db.URL, func(c *doctor.Config) { c.Direct = direct }), "listener")
	require.Equal(t, operate.HealthFail, check.Result)
}
