package doctor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
)

// A session holds a lock that the worker needs, and others wait for it.
func TestDoctorNamesWhoHoldsThingsUp(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "CREATE TABLE held ()")
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), "LOCK TABLE iu_outbox.event, held; SELECT pg_catalog.pg_current_xact_id()")
	require.NoError(t, err)
	holder := tx.Conn().PgConn().PID()
	waited := make(chan error, 1)
	go func() {
		_, err := db.Pool.Exec(t.Context(), "SELECT FROM held")
		waited <- err
	}()
	iutest.WaitBlocked(t, db, 1)

	impatient := func(c *doctor.Config) {
		c.LongTransaction, c.LongWait, c.StatementTimeout = time.Millisecond, time.Millisecond, 2*time.Second
	}
	var report doctor.Report
	iutest.Eventually(t, func() bool {
		report = examine(t, db.URL, impatient)
		return checked(t, report, "locks").Details != nil && checked(t, report, "transactions").Details != nil
	}, operatetest.Patience, "%+v", &report)
	locks := checked(t, report, "locks")
	require.Contains(t, []operate.Health{operate.HealthWarn, operate.HealthFail}, locks.Result)
	require.Regexp(t, fmt.Sprintf(`pid \d+ has waited for AccessShareLock on public.held for .*, blocked by pid %d`, holder), strings.Join(locks.Details, "\n"))
	require.Equal(t, fmt.Sprintf("psql -c 'SELECT pg_terminate_backend(%d)'", holder), locks.Next)
	transactions := checked(t, report, "transactions")
	require.Regexp(t, fmt.Sprintf(`pid %d, user postgres, an unnamed program: in a transaction for .*, idle in transaction for`, holder),
		strings.Join(transactions.Details, "\n"))
	outbox := checked(t, report, "outbox")
	require.Equal(t, operate.HealthFail, outbox.Result)
	require.Contains(t, outbox.Says, "no reply within 2s")

	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-waited)
	report = examine(t, db.URL)
	require.Equal(t, operate.HealthOK, checked(t, report, "locks").Result)
	require.Equal(t, operate.HealthOK, checked(t, report, "transactions").Result)
}
