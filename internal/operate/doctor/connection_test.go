package doctor_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

func TestDoctorComparesTheTwoAddresses(t *testing.T) {
	t.Parallel()
	db, other := iutest.New(t), iutest.New(t)
	at := func(url string) func(*doctor.Config) {
		direct, err := pgx.ParseConfig(url)
		require.NoError(t, err)
		return func(c *doctor.Config) { c.Direct, c.StatementTimeout = direct, 4*time.Second } // the listener may wait for it in vain
	}
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL, at(db.URL)), "direct").Result)
	check := checked(t, examine(t, db.URL, at(other.URL)), "direct")
	require.Equal(t, operate.HealthFail, check.Result)
	require.Contains(t, check.Says, "different databases")
	check = checked(t, examine(t, db.URL, at("postgres://me:s3cret@127.0.0.1:1/x")), "direct")
	require.Equal(t, operate.HealthFail, check.Result)
	require.NotContains(t, fmt.Sprint(check), "s3cret")

	name := login(t, db, "iu_worker")
	db.Exec(t, "ALTER ROLE "+name+" IN DATABASE "+db.Name+" SET default_transaction_read_only = on")
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.User = url.User(name)
	check = checked(t, examine(t, db.URL, at(u.String())), "direct")
	require.Equal(t, operate.HealthFail, check.Result)
	require.Contains(t, check.Says, "read-only")
}
