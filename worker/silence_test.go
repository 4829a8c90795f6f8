package worker_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// through puts a proxy in front of the database that can drop all traffic without closing connections.
func through(t *testing.T, db *iutest.DB) (cfg *pgx.ConnConfig, silence func(), speak func()) {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", u.Host)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	u.Host = proxy.Listen
	cfg, err = pgx.ParseConfig(u.String())
	require.NoError(t, err)
	cfg.RuntimeParams["application_name"] = "worker"
	silence = func() {
		for _, stream := range []string{"upstream", "downstream"} {
			_, err := proxy.Toxics.AddToxicJson(strings.NewReader(
				fmt.Sprintf(`{"name": %q, "type": "timeout", "stream": %q, "attributes": {"timeout": 0}}`, stream, stream)))
			require.NoError(t, err)
		}
	}
	return cfg, silence, func() { proxy.Toxics.ResetToxics(context.WithoutCancel(t.Context())) }
}

// The network between the worker's sessions and the server drops all packets, without closing connections.
func TestSilentServerIsNoticed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	direct, silence, speak := through(t, db)
	log, lines := logging(t)
	w := start(t, db, func(c *worker.Config) { c.Direct, c.Logger = direct, log })
	down := func(part string) bool {
		return lines.Count(part+": connection lost") > lines.Count(part+": connection is back")
	}
	silence()
	iutest.Eventually(t, func() bool { return down("Listener") && down("Session") }, patience)
	require.ErrorIs(t, w.Ready(t.Context()), worker.ErrNotReady)
	insert(t, db, template, "meanwhile") // polling finds it, through the pool
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	speak()
	iutest.Eventually(t, func() bool {
		return !down("Listener") && !down("Session") && w.Ready(t.Context()) == nil
	}, patience)
	eventually(t, db, relaySleeps)
	insert(t, db, template, "afterwards")
	eventually(t, db, "SELECT count(*) = 2 FROM iu_outbox.emission WHERE position IS NOT NULL")
}

// If notifications do not come through, as behind a transaction pooler, the worker logs it once, polls, and is ready. Here the
// direct address leads to another database, which notifications do not reach.
func TestPollsWhereNotificationsDoNotComeThrough(t *testing.T) {
	t.Parallel()
	db, elsewhere := iutest.New(t), iutest.Empty(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	log, lines := logging(t)
	direct, err := pgx.ParseConfig(elsewhere.URL)
	require.NoError(t, err)
	w := start(t, db, polling(20*time.Millisecond), func(c *worker.Config) { c.Direct, c.Logger = direct, log })
	require.NoError(t, w.Ready(t.Context()))
	require.Equal(t, 1, lines.Count("polling instead"))
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.Zero(t, value[int](t, db, `SELECT count(*)::int FROM pg_locks
		WHERE locktype = 'advisory' AND classid IN (26997, 26998) AND mode = 'ExclusiveLock'
			AND database IN (SELECT oid FROM pg_database WHERE datname IN ($1, $2))`, db.Name, elsewhere.Name))
}

// Workers that poll detect a dead one by its heartbeat.
func TestDeadPollingWorkerIsNoticed(t *testing.T) {
	t.Parallel()
	db, elsewhere := iutest.New(t), iutest.Empty(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	direct, err := pgx.ParseConfig(elsewhere.URL)
	require.NoError(t, err)
	start(t, db, polling(20*time.Millisecond), func(c *worker.Config) { c.Direct = direct })
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed'")
	// A killed worker leaves a job in state running, and a row whose heartbeat grows old.
	db.Exec(t, `INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version) VALUES ('ghost', 1, 'h', 1, 'v')`)
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'running', finalized_at = NULL, attempted_by = '{ghost}'`)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed' AND metadata ->> 'released_from' = 'ghost'")
}

func TestServerRestartLosesNothing(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	log, lines := logging(t)
	w := start(t, db, func(c *worker.Config) { c.Logger = log })
	const rows = 400
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'e', $1, 's-' || g FROM generate_series(1, $2::int) AS g`, template, rows)
	eventually(t, db, "SELECT count(*) > 20 FROM iu_auto_instantiate_event_log")
	require.NoError(t, server.Restart(t.Context()))
	db.WaitFor(t, patience, "SELECT count(*) = $1 FROM iu_outbox.emission WHERE position IS NOT NULL", rows)
	iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
	require.LessOrEqual(t, len(logged(lines, "Session: connection lost")), 1)
	require.Equal(t, rows, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
	require.Zero(t, lines.Count("Rescuer: a worker died"))
}

// A worker needs no privileges beyond those of iu_worker.
func TestWorksAsItsRole(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	log, lines := logging(t)
	u := *db
	u.URL = db.URLAs("iu_worker")
	start(t, &u, func(c *worker.Config) { c.Logger = log })
	insert(t, db, template, "good")
	insert(t, db, template, "good")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter WHERE status = 'instance_key_conflict'")
	require.Zero(t, lines.Count("SQLSTATE 42501"))
}
