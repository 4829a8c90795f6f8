package operate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJudgeClock(t *testing.T) {
	t.Parallel()
	for ahead, want := range map[time.Duration]Health{
		0: HealthOK, time.Second: HealthOK, -time.Second: HealthOK, 3 * time.Second: HealthWarn, -3 * time.Second: HealthWarn,
		2 * time.Minute: HealthFail, -2 * time.Minute: HealthFail,
	} {
		require.Equal(t, want, judgeClock(ahead, time.Millisecond).Result, ahead)
	}
	require.Contains(t, judgeClock(-time.Hour, 0).Says, "1h0m behind the server's")
	require.Contains(t, judgeClock(time.Hour, 0).Says, "1h0m ahead of the server's")
	require.Equal(t, HealthOK, judgeClock(time.Hour, 2*time.Hour).Result, "an answer that took long says little")
}

func TestJudgeNotifications(t *testing.T) {
	t.Parallel()
	open := []openTransaction{{PID: 7, User: "me", State: "idle in transaction", Seconds: 4000, Idle: 3999}}
	check := judgeNotifications(0.1, open)
	require.Equal(t, HealthWarn, check.Result)
	require.Equal(t, []string{"pid 7, user me, an unnamed program: in a transaction for 1h6m, idle in transaction for 1h6m"}, check.Details)
	require.Equal(t, "psql -c 'SELECT pg_terminate_backend(7)'", check.Next)
	require.Equal(t, HealthFail, judgeNotifications(0.6, nil).Result)
}

func TestJudgeReplicas(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		replica     replica
		synchronous string
		want        Health
	}{
		{replica{"a", "streaming", "async", 0.1, 100}, "", HealthOK},
		{replica{"a", "streaming", "async", 0.1, 100}, "b", HealthFail},
		{replica{"b", "streaming", "sync", 0.1, 100}, "b", HealthOK},
		{replica{"b", "streaming", "quorum", 45, 100}, "b", HealthWarn},
		{replica{"a", "catchup", "async", 0, 1 << 30}, "", HealthWarn},
		{replica{}, "b", HealthSkipped}, // seen by a login that may not look
	} {
		require.Equal(t, test.want, judgeReplicas([]replica{test.replica}, test.synchronous).Result, "%+v", test)
	}
}

func TestJudgeSlots(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		slot slot
		want Health
	}{
		{slot{"a", true, "reserved", 10, 10}, HealthOK},
		{slot{"a", true, "extended", 2_000_000, 10}, HealthWarn},
		{slot{"a", true, "extended", 20_000_000, 10}, HealthFail},
		{slot{"a", false, "", 0, 0}, HealthWarn},
		{slot{"a", false, "extended", 0, 2 << 30}, HealthFail},
		{slot{"a", true, "lost", 0, 0}, HealthFail},
	} {
		require.Equal(t, test.want, test.slot.problem().Result, "%+v", test)
	}
}

func TestJudgeVacuum(t *testing.T) {
	t.Parallel()
	dirty := vacuumed{Name: "iu_outbox.event", Live: 10, Dead: 2_000_000, Enabled: true, Trigger: 5000, Seconds: 3600}
	check := judgeVacuum([]vacuumed{dirty})
	require.Equal(t, HealthWarn, check.Result)
	require.Equal(t, []string{"iu_outbox.event: 2000000 dead rows beside 10 live ones, not vacuumed for 1h0m"}, check.Details)
	require.Equal(t, "psql -c 'VACUUM (ANALYZE) iu_outbox.event'", check.Next)

	recent, running, small := dirty, dirty, dirty
	recent.Seconds, running.Running, small.Dead = 30, true, 20_000
	require.Equal(t, HealthOK, judgeVacuum([]vacuumed{recent, running, small}).Result)
}

func TestJudgeConsumers(t *testing.T) {
	t.Parallel()
	lag, short, long := int64(3), 10.0, 1000.0
	process, cause := "p", "no room"
	for _, test := range []struct {
		consumer consumer
		want     Health
	}{
		{consumer{Name: "c", State: "ok", Lag: &lag, Seconds: &short}, HealthOK},
		{consumer{Name: "c", State: "ok", Lag: &lag, Seconds: &long, Process: &process}, HealthWarn},
		{consumer{Name: "c", State: "ok", Lag: &lag, Seconds: &long}, HealthWarn},
		{consumer{Name: "c", State: "ok", LastError: &cause}, HealthWarn},
		{consumer{Name: "c", State: "ok", DeadLetters: 1}, HealthWarn},
		{consumer{Name: "c", State: "pruned"}, HealthFail},
		{consumer{Name: "c", State: "rewound"}, HealthFail},
	} {
		require.Equal(t, test.want, test.consumer.problem().Result, "%+v", test)
	}
}

// The statement that gives a login a role's privileges depends on the server's version, and on what the login is now.
func TestGrantThatHelps(t *testing.T) {
	t.Parallel()
	member := []string{"iu_worker"}
	for _, test := range []struct {
		login standing
		want  string
	}{
		{standing{Login: "a", ServerVersion: 150000, Inherits: true}, `GRANT iu_worker TO "a"`},
		{standing{Login: "a", ServerVersion: 150000, Inherits: true, Member: member}, `GRANT iu_worker TO "a"`},
		{standing{Login: "a", ServerVersion: 150000, Member: member}, `GRANT iu_worker TO "a"; ALTER ROLE "a" INHERIT`},
		{standing{Login: "a", ServerVersion: 170000, Inherits: true}, `GRANT iu_worker TO "a"`},
		{standing{Login: "a", ServerVersion: 170000, Inherits: true, Member: member}, `GRANT iu_worker TO "a" WITH INHERIT TRUE`},
		{standing{Login: "a", ServerVersion: 170000}, `GRANT iu_worker TO "a" WITH INHERIT TRUE`},
	} {
		require.Equal(t, test.want, test.login.grant("iu_worker"), "%+v", test.login)
	}
	require.Equal(t, `psql -d 'it'\''s' -c 'GRANT iu_worker TO "a"'`, psqlIn("it's", `GRANT iu_worker TO "a"`))
}
