package doctor_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
)

func TestDoctorBehindATransactionPooler(t *testing.T) {
	t.Parallel()
	db, elsewhere := iutest.New(t), iutest.Empty(t) // notifications do not cross databases, so this looks like a pooler that loses them
	direct, err := pgx.ParseConfig(elsewhere.URL)
	require.NoError(t, err)
	check := checked(t, examine(t, db.URL, func(c *doctor.Config) { c.Direct, c.StatementTimeout = direct, 4*time.Second }), "listener")
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Contains(t, check.Next, "--direct-database-url")

	direct.Port = 1
	check = checked(t, examine(t, db.URL, func(c *doctor.Config) { c.Direct = direct }), "listener")
	require.Equal(t, operate.HealthFail, check.Result)
}

func TestDoctorNamesAListenerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t) // the whole server has one queue
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "LISTEN much")
	require.NoError(t, err)
	pid := conn.PgConn().PID()
	hijacked, err := conn.PgConn().Hijack() // the connection stays open, and nothing reads from it
	require.NoError(t, err)
	defer func(c net.Conn) { _ = c.Close() }(hijacked.Conn)
	impatient := func(c *doctor.Config) { c.LongWait = 100 * time.Millisecond }
	var check doctor.Check
	iutest.Eventually(t, func() bool {
		db.Exec(t, "SELECT pg_notify('much', repeat('x', 7000) || n) FROM generate_series(1, 500) AS n")
		check = checked(t, examine(t, db.URL, impatient), "listeners")
		return check.Result == operate.HealthWarn
	}, 2*operatetest.Patience)
	require.Contains(t, check.Details[0], fmt.Sprintf("pid %d, user postgres, database %s", pid, db.Name))
	require.Contains(t, check.Details[0], "has not read its notifications for")
	require.Equal(t, fmt.Sprintf("psql -c 'SELECT pg_terminate_backend(%d)'", pid), check.Next)
}

func TestDoctorSaysWhatNotificationsCarry(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	stranger, subscriber := "stranger_"+db.Name, "reader_"+db.Name
	db.Exec(t, "CREATE ROLE "+stranger+" LOGIN; CREATE ROLE "+subscriber+" LOGIN IN ROLE iu_subscriber")
	t.Cleanup(func() { db.Exec(t, "DROP ROLE "+stranger+", "+subscriber) })
	payload := func() doctor.Check { return checked(t, examine(t, db.URL), "payload") }

	check := payload()
	require.Equal(t, operate.HealthOK, check.Result)
	require.Contains(t, check.Says, "whole events, and")
	require.Contains(t, check.Says, "iuworker settings set notify-payload cursor")
	db.Exec(t, "REVOKE CONNECT ON DATABASE "+db.Name+" FROM PUBLIC")
	db.Exec(t, "GRANT CONNECT ON DATABASE "+db.Name+" TO "+subscriber)
	require.Equal(t, "notifications carry whole events", payload().Says)
	db.Exec(t, "GRANT CONNECT ON DATABASE "+db.Name+" TO "+stranger)
	check = payload()
	require.Contains(t, check.Says, "1 login without another right to read them")
	require.Equal(t, []string{stranger}, check.Details)
	db.Exec(t, "REVOKE CONNECT ON DATABASE "+db.Name+" FROM "+stranger+", "+subscriber) // a role with privileges cannot be dropped

	was, err := operate.Operator{Pool: db.Pool, Actor: "me"}.SetSetting(t.Context(), operate.SettingNotifyPayload, operate.PayloadCursor)
	require.NoError(t, err)
	require.Equal(t, operate.PayloadEvent, was)
	require.Equal(t, "notifications carry the cursor alone", payload().Says)
}
