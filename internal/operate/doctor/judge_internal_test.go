package doctor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/operate"
)

func TestJudgeClock(t *testing.T) {
	t.Parallel()
	for ahead, want := range map[time.Duration]operate.Health{
		0: operate.HealthOK, time.Second: operate.HealthOK, -time.Second: operate.HealthOK,
		3 * time.Second: operate.HealthWarn, -3 * time.Second: operate.HealthWarn,
		2 * time.Minute: operate.HealthFail, -2 * time.Minute: operate.HealthFail,
	} {
		require.Equal(t, want, judgeClock(ahead, time.Millisecond).Result, ahead)
	}
	require.Contains(t, judgeClock(-time.Hour, 0).Says, "1h0m behind the server's")
	require.Contains(t, judgeClock(time.Hour, 0).Says, "1h0m ahead of the server's")
	require.Equal(t, operate.HealthOK, judgeClock(time.Hour, 2*time.Hour).Result, "an answer that took long says little")
}

func TestJudgeNotifications(t *testing.T) {
	t.Parallel()
	open := []openTransaction{{PID: 7, User: "me", State: "idle in transaction", Seconds: 4000, Idle: 3999}}
	check := judgeNotifications(0.1, open)
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Equal(t, []string{"pid 7, user me, an unnamed program: in a transaction for 1h6m, idle in transaction for 1h6m"}, check.Details)
	require.Equal(t, "psql -c 'SELECT pg_terminate_backend(7)'", check.Next)
	require.Equal(t, operate.HealthFail, judgeNotifications(0.6, nil).Result)
}

func TestJudgeReplicas(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		replica     streaming
		synchronous string
		want        operate.Health
	}{
		{streaming{"a", "streaming", "async", 0.1, 100}, "", operate.HealthOK},
		{streaming{"a", "streaming", "async", 0.1, 100}, "b", operate.HealthFail},
		{streaming{"b", "streaming", "sync", 0.1, 100}, "b", operate.HealthOK},
		{streaming{"b", "streaming", "quorum", 45, 100}, "b", operate.HealthWarn},
		{streaming{"a", "catchup", "async", 0, 1 << 30}, "", operate.HealthWarn},
		{streaming{}, "b", operate.HealthSkipped}, // as a login without pg_monitor sees it
	} {
		require.Equal(t, test.want, judgeReplicas([]streaming{test.replica}, test.synchronous).Result, "%+v", test)
	}
}

func TestJudgeSlots(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		slot slot
		want operate.Health
	}{
		{slot{"a", true, "reserved", 10, 10}, operate.HealthOK},
		{slot{"a", true, "extended", 2_000_000, 10}, operate.HealthWarn},
		{slot{"a", true, "extended", 20_000_000, 10}, operate.HealthFail},
		{slot{"a", false, "", 0, 0}, operate.HealthWarn},
		{slot{"a", false, "extended", 0, 2 << 30}, operate.HealthFail},
		{slot{"a", true, "lost", 0, 0}, operate.HealthFail},
	} {
		require.Equal(t, test.want, test.slot.problem().Result, "%+v", test)
	}
}

func TestJudgeVacuum(t *testing.T) {
	t.Parallel()
	dirty := vacuumed{Name: "iu_outbox.event", Live: 10, Dead: 2_000_000, Enabled: true, Trigger: 5000, Seconds: 3600}
	check := judgeVacuum([]vacuumed{dirty})
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Equal(t, []string{"iu_outbox.event: 2000000 dead rows and 10 live ones, not vacuumed for 1h0m"}, check.Details)
	require.Equal(t, "psql -c 'VACUUM (ANALYZE) iu_outbox.event'", check.Next)

	recent, running, small := dirty, dirty, dirty
	recent.Seconds, running.Running, small.Dead = 30, true, 20_000
	require.Equal(t, operate.HealthOK, judgeVacuum([]vacuumed{recent, running, small}).Result)
}

// The statement that gives a login a role's privileges depends on the server's version, and on what the login has.
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

func TestJudgeSessions(t *testing.T) {
	t.Parallel()
	free := sessionRoom{Used: 10, UsedHere: 5, UsedByLogin: 5, Room: 97, Database: -1, Login: -1}
	for _, test := range []struct {
		change func(*sessionRoom)
		want   operate.Health
		says   string
	}{
		{func(*sessionRoom) {}, operate.HealthOK, "10 of 97 sessions are taken"},
		{func(r *sessionRoom) { r.Used = 80 }, operate.HealthWarn, "80 of 97"},
		{func(r *sessionRoom) { r.Used = 95 }, operate.HealthFail, "95 of 97"},
		{func(r *sessionRoom) { r.Login = 5 }, operate.HealthFail, "5 of 5 sessions are taken (the connection limit of this login)"},
		{func(r *sessionRoom) { r.Database = 6 }, operate.HealthWarn, "5 of 6 sessions are taken (the connection limit of the database)"},
		{func(r *sessionRoom) { r.Login, r.Super = 5, true }, operate.HealthOK, "10 of 97"}, // limits do not apply to superusers
		{func(r *sessionRoom) { r.Pooled = true }, operate.HealthOK, "through a pooler"},
	} {
		r := free
		test.change(&r)
		check := judgeSessions(r)
		require.Equal(t, test.want, check.Result, "%+v", r)
		require.Contains(t, check.Says, test.says)
	}
}

func TestJudgePool(t *testing.T) {
	t.Parallel()
	r := sessionRoom{Used: 90, Room: 97, Database: -1, Login: -1}
	require.Equal(t, operate.HealthOK, judgePool(r, 4, 20).Result)
	check := judgePool(r, 5, 20)
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Equal(t, "iuworker work --pool-size 16", check.Next)
	require.Empty(t, judgePool(r, 50, 20).Next, "no pool is small enough")
	r.Pooled = true
	require.Equal(t, operate.HealthOK, judgePool(r, 5, 20).Result)
}

func TestJudgeHorizon(t *testing.T) {
	t.Parallel()
	require.Equal(t, operate.HealthOK, judgeHorizon(10, []holder{{1, "walsender", "standby", 100, 0}, {2, "autovacuum worker", "", 100, 2}}, 300).Result)
	check := judgeHorizon(10, []holder{{1, "walsender", "standby", 2 * oldSnapshot, 0}, {2, "pg_cron", "", 100, 2}}, 300)
	require.Equal(t, operate.HealthWarn, check.Result)
	require.Equal(t, []string{"pid 1, walsender standby: a snapshot 2000000 transactions old"}, check.Details)
	require.Contains(t, check.WayOut, "hot_standby_feedback")
	check = judgeHorizon(10, []holder{{2, "pg_cron", "nightly", 100, 400}}, 300)
	require.Equal(t, []string{"pid 2, pg_cron nightly: a snapshot 100 transactions old, for 6m40s"}, check.Details)
	require.Equal(t, "psql -c 'SELECT pg_terminate_backend(2)'", check.Next)
}

func TestJudgeDirect(t *testing.T) {
	t.Parallel()
	now := time.Now()
	here := place{database: 5, started: now}
	require.Equal(t, operate.HealthOK, judgeDirect(here, here).Result)
	for _, other := range []place{{database: 5, started: now, standby: true}, {database: 5, started: now, readOnly: true},
		{database: 6, started: now}, {database: 5, started: now.Add(time.Hour)}} {
		require.Equal(t, operate.HealthFail, judgeDirect(here, other).Result, "%+v", other)
	}
}
