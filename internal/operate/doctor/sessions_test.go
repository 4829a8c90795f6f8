package doctor_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

func TestDoctorComparesPoolsWithWhatTheServerAllows(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	name := login(t, db, "iu_operator")
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.User = url.User(name)
	db.Exec(t, "ALTER ROLE "+name+" CONNECTION LIMIT 40")
	db.Worker(t, "a")
	size := func(n int) func(*doctor.Config) {
		return func(c *doctor.Config) { c.PoolSize = n }
	}
	require.Equal(t, operate.HealthOK, checked(t, examine(t, u.String(), size(20)), "pool").Result)
	check := checked(t, examine(t, u.String(), size(50)), "pool")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Equal(t, "1 worker with 50 connections each, and 3 more that listen or hold locks, may open 53 sessions; "+
		"the connection limit of this login allows 40", check.Says)
	require.Equal(t, "iuworker work --pool-size 37", check.Next)
	db.Exec(t, "ALTER ROLE "+name+" CONNECTION LIMIT -1; ALTER DATABASE "+db.Name+" CONNECTION LIMIT 30")
	check = checked(t, examine(t, u.String(), size(50)), "pool")
	require.Contains(t, check.Says, "the connection limit of the database allows 30")
	check = checked(t, examine(t, db.URL, size(900)), "pool")
	require.Contains(t, check.Says, "the server's max_connections allows")
}
