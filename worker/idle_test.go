package worker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// statements counts the statements of a pool between two heartbeats.
type statements struct {
	mu    sync.Mutex
	since []string // since the last heartbeat
	calm  int      // heartbeats in a row without a poll of a table or a ping of the session
	sent  int      // statements since the first of these heartbeats, heartbeats excluded
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(data.SQL, "iu_outbox.renew_lease") {
		s.since = append(s.since, data.SQL)
		return ctx
	}
	s.calm, s.sent = s.calm+1, s.sent+len(s.since)
	for _, sql := range s.since {
		for _, poll := range []string{
			"iu_outbox.claim", "iu_outbox.emit", "iu_outbox.resume", "iu_outbox.sweep_leases", "JobGetAvailable", "river_queue",
			"pg_is_in_recovery",
		} {
			if strings.Contains(sql, poll) {
				s.calm, s.sent = 0, 0
			}
		}
	}
	s.since = nil
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// few reports whether there were five heartbeats in a row without a poll of a table, and hardly more other statements than River and
// the listener send by themselves.
func (s *statements) few() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calm >= 5 && s.sent <= 4*s.calm
}

// While doorbells ring, a worker without work renews its lease and rarely polls tables. A doorbell wakes it at once.
func TestIdleWorkerLooksSeldom(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	var seen statements
	start(t, db, func(c *worker.Config) {
		cfg := c.Pool.Config()
		cfg.ConnConfig.Tracer = &seen
		pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		c.Pool, c.PollInterval = pool, 10*time.Second
	})
	iutest.Eventually(t, seen.few, patience)
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
}

// Nothing rings when a job is due again that River made available before: the worker that put it off looks for it as often as
// without doorbells.
func TestRetriesDoNotWaitForTheIdlePoll(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		CREATE FUNCTION public.fail_at_first() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN -- in the relay, and until the job has failed once
			IF NOT EXISTS (SELECT FROM iu_river.river_job WHERE metadata #>> '{retry,count}' = '1') THEN
				RAISE EXCEPTION 'try again' USING ERRCODE = '40001';
			END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER fail_at_first BEFORE INSERT ON public.iu_auto_instantiate_event_log FOR EACH ROW EXECUTE FUNCTION public.fail_at_first()`)
	start(t, db, func(c *worker.Config) { c.PollInterval = patience / 9 }) // the idle poll would come too late
	insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.Positive(t, value[int](t, db, "SELECT (metadata #>> '{retry,count}')::int FROM iu_river.river_job"))
}
