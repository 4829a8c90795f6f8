package doctor_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

func TestDoctorNamesPreparedTransactions(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	conn, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	gid := "it's " + db.Name
	for _, sql := range []string{"BEGIN", "CREATE TABLE x ()", "PREPARE TRANSACTION '" + strings.ReplaceAll(gid, "'", "''") + "'"} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	t.Cleanup(func() { db.Exec(t, "ROLLBACK PREPARED '"+strings.ReplaceAll(gid, "'", "''")+"'") })
	check := checked(t, examine(t, db.URL, func(c *doctor.Config) { c.LongTransaction = time.Millisecond }), "prepared")
	require.Equal(t, operate.HealthFail, check.Result)
	require.Regexp(t, regexp.QuoteMeta(gid)+" of postgres, for", check.Details[0])
	require.Equal(t, `psql -c 'ROLLBACK PREPARED '\''it'\'''\''s `+db.Name+`'\'''`, check.Next)
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "prepared").Result)
}
