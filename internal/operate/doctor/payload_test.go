package doctor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

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
	db.Exec(t, "REVOKE CONNECT ON DATABASE "+db.Name+" FROM "+stranger+", "+subscriber) // what a role has keeps it from being dropped

	was, err := operate.Operator{Pool: db.Pool, Actor: "me"}.SetSetting(t.Context(), operate.SettingNotifyPayload, operate.PayloadCursor)
	require.NoError(t, err)
	require.Equal(t, operate.PayloadEvent, was)
	require.Equal(t, "notifications carry the cursor alone", payload().Says)
}
