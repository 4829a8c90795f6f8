package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// stranger returns a connection of a login that has no privilege but CONNECT.
func stranger(t *testing.T, db *iutest.DB) *pgx.Conn {
	t.Helper()
	role := "stranger_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	db.Exec(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { db.Exec(t, "DROP ROLE "+role) })
	conn, err := pgx.Connect(t.Context(), db.URLAs(role))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) }) // must happen before its role is dropped
	return conn
}

func do(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

// Any login can send any notification. River would treat them as commands, so it must not receive them.
func TestNotificationsOfStrangersCommandNothing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	release := db.HoldComposing(t)
	log, lines := logging(t)
	w := start(t, db, func(c *worker.Config) { c.Logger = log })
	for i := range 10 {
		insert(t, db, template, fmt.Sprint("before-", i))
	}
	eventually(t, db, "SELECT count(*) = 10 FROM iu_river.river_job WHERE state = 'running'")

	who := stranger(t, db)
	// In few statements: the jobs run meanwhile, and would be reported if they ran for long.
	payloads := []string{
		`{"action":"pause","queue":"*"}`, `{"action":"pause","queue":"events"}`, `{"action":"metadata_changed","queue":"*","metadata":{}}`,
		`{"action":"request_resign"}`, `{"action":"resigned","leader_id":"nobody"}`, `{"queue":"events"}`, `{"queue":7}`, `{`, ``, strings.Repeat("x", 7999),
	}
	channels := []string{
		"iu_river.river_control", "iu_river.river_insert", "iu_river.river_leadership", "iu_river.river_unknown",
		"iu_outbox_event", "iu_outbox_emission", "iu_outbox_gate", "iu.template.instance_auto_composed",
	}
	do(t, who, "SELECT pg_notify(c, p) FROM unnest($1::text[]) AS p, unnest($2::text[]) AS c", payloads, channels)
	do(t, who, `SELECT pg_notify('iu_river.river_control', format('{"action":"cancel","job_id":%s,"queue":"%s"}', id, queue))
		FROM unnest($1::bigint[]) AS id, unnest('{events,scaleout,*}'::text[]) AS queue`,
		value[[]int64](t, db, "SELECT array_agg(id) FROM iu_river.river_job WHERE state = 'running'"))
	// The change of a gate comes after all of them and takes effect, so the worker has received the others as well.
	db.Exec(t, "UPDATE dot_config SET value = 'false' WHERE key = 'iu_core.composer_enabled'")
	db.Exec(t, "UPDATE dot_config SET value = 'true' WHERE key = 'iu_core.composer_enabled'")
	iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
	release()
	insert(t, db, template, "afterwards")
	eventually(t, db, "SELECT count(*) = 11 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
	require.Empty(t, logged(lines, "level=WARN", "level=ERROR"), "nobody is told of them")
}

// Changes by operators are in the tables, and take effect even without a notification.
func TestQueuesArePausedAndJobsCancelledByTheTables(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, c *worker.Config){
		"listening": func(*testing.T, *worker.Config) {},
		"polling": func(t *testing.T, c *worker.Config) {
			t.Helper()
			var err error
			c.Direct, err = pgx.ParseConfig(iutest.Empty(t).URL)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			lines := &iutest.Log{}
			start(t, db, func(c *worker.Config) {
				change(t, c)
				c.Logger = slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			insert(t, db, template, "first")
			eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed'")

			db.Exec(t, "UPDATE iu_river.river_queue SET paused_at = now() WHERE name = 'events'")
			iutest.Eventually(t, func() bool { return lines.Count(`: Paused" queue=events`) > 0 }, patience, "River says so")
			insert(t, db, template, "probe")
			eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
			for begun := time.Now(); time.Since(begun) < time.Second; { // in which River would fetch it
				require.True(t, value[bool](t, db, "SELECT EXISTS (SELECT FROM iu_river.river_job WHERE state = 'available')"))
			}
			release := db.HoldComposing(t)
			db.Exec(t, "UPDATE iu_river.river_queue SET paused_at = NULL WHERE name = 'events'")
			eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'running'")

			// The same update as River's JobCancel.
			db.Exec(t, `UPDATE iu_river.river_job SET metadata = metadata || '{"cancel_attempted_at": "2026-01-01T00:00:00Z"}' WHERE state = 'running'`)
			eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter WHERE status = 'cancelled'")
			release()
		})
	}
}

// A flood of notifications neither slows the work down nor fills the log.
func TestFloodOfNotifications(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	log, lines := logging(t)
	start(t, db, func(c *worker.Config) { c.Logger = log })
	who := stranger(t, db)
	ctx, stop := context.WithCancel(t.Context())
	begun, flooded := make(chan struct{}), make(chan int, 1)
	go func() {
		sent := 0
		begin := sync.OnceFunc(func() { close(begun) })
		for ctx.Err() == nil {
			_, err := who.Exec(ctx, `
				SELECT pg_notify(c, CASE g % 3 WHEN 0 THEN '{"queue":"events"}' WHEN 1 THEN '{' ELSE repeat('x', 7900) END || g)
				FROM generate_series(1, 200) AS g,
				     unnest('{iu_river.river_insert,iu_river.river_control,iu_river.river_leadership,iu_outbox_event,iu_outbox_emission}'::text[]) AS c`)
			if err == nil {
				sent += 1000
				begin()
			}
		}
		flooded <- sent
	}()
	select {
	case <-begun:
	case <-time.After(patience):
		require.FailNow(t, "the flood does not begin")
	}
	for i := range 50 {
		insert(t, db, template, fmt.Sprint("s-", i))
	}
	eventually(t, db, "SELECT count(*) = 50 FROM iu_outbox.emission WHERE position IS NOT NULL")
	stop()
	require.Positive(t, <-flooded)
	require.Empty(t, logged(lines, "level=WARN", "level=ERROR"))
}

// An advisory lock counts only if its holder has the worker's role: any login can take and keep one.
func TestLocksOfStrangersHoldUpNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"pg_advisory_lock", "pg_advisory_lock_shared"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			who := stranger(t, db)
			for key := range 9 {
				do(t, who, "SELECT "+how+"(26997, $1)", key)
				do(t, who, "SELECT "+how+"(26999, $1)", key)
			}
			log, lines := logging(t)
			start(t, db, func(c *worker.Config) { c.Logger, c.PollInterval = log, time.Hour })
			for i := range 5 {
				insert(t, db, template, fmt.Sprint("s-", i))
				eventually(t, db, "SELECT count(*) = $1 FROM iu_outbox.emission WHERE position IS NOT NULL", i+1)
			}
			iutest.Eventually(t, func() bool {
				return lines.Count("a login that is no worker's holds a lock of ours") >= 1
			}, patience)
			require.Positive(t, lines.Count(fmt.Sprintf("pg_terminate_backend(%d)", who.PgConn().PID())))
			db.Exec(t, "SELECT iu_outbox.open_consumer('c', NULL, NULL)")
			db.Exec(t, "SELECT iu_outbox.prune_emissions('1 hour', '1 hour', 10)")
		})
	}
}
