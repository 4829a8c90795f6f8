package doctor_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestDoctorNamesACollationThatChanged(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "collations").Result)
	db.Exec(t, "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()")
	check := checked(t, examine(t, db.URLAs("iu_operator")), "collations")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Contains(t, check.Details[0], "built with version 1.0")
	require.Equal(t,
		fmt.Sprintf(`psql -c 'REINDEX DATABASE CONCURRENTLY "%[1]s"' && psql -c 'ALTER DATABASE "%[1]s" REFRESH COLLATION VERSION'`+
			` && iuworker verify`, db.Name),
		check.Next)
	db.Exec(t, "UPDATE pg_database SET datcollversion = NULL WHERE datname = current_database()")

	db.Exec(t, `CREATE COLLATION other (provider = icu, locale = 'en'); CREATE INDEX odd ON iu_outbox.dead_letter (status COLLATE other)`)
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "collations").Result)
	db.Exec(t, "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'other'")
	check = checked(t, examine(t, db.URL), "collations")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Contains(t, check.Next, "ALTER COLLATION public.other REFRESH VERSION")
	db.Exec(t, "REINDEX INDEX iu_outbox.odd; ALTER COLLATION public.other REFRESH VERSION")
	require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URL), "collations").Result)
}
