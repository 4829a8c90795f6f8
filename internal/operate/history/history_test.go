package history_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/history"
)

// past is a database whose history a test invents: jobs that ended in an earlier minute.
type past struct {
	*iutest.DB

	template uuid.UUID
	minute   time.Time // four minutes ago, by the server's clock
}

func setupPast(t *testing.T) past {
	t.Helper()
	db := iutest.New(t)
	db.Exec(t, "UPDATE iu_outbox.epoch SET created_at = created_at - interval '2 hours'")
	p := past{DB: db, template: db.Template(t, "letter", 2)}
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT date_trunc('minute', clock_timestamp()) - interval '4 minutes'").Scan(&p.minute))
	return p
}

// ended is a job that has ended. Its zero value is a live event that was composed after a second.
type ended struct {
	state, queue, mode, metadata string
	took, available              time.Duration // from created_at and from available_at until its end
	at                           time.Duration // since the minute began
	template                     uuid.UUID
}

func (p past) end(t *testing.T, jobs ...ended) {
	t.Helper()
	for _, j := range jobs {
		text := func(v, otherwise string) string {
			if v == "" {
				return otherwise
			}
			return v
		}
		if j.took == 0 {
			j.took = time.Second
		}
		if j.template == uuid.Nil {
			j.template = p.template
		}
		at := p.minute.Add(j.at)
		args := map[string]any{
			"event_id": uuid.New(), "template_collection_id": j.template, "emit_mode": text(j.mode, "live"), "created_at": at.Add(-j.took),
		}
		if j.available > 0 {
			args["available_at"] = at.Add(-j.available)
		}
		encoded, err := json.Marshal(args)
		require.NoError(t, err)
		p.Exec(t, `
			INSERT INTO iu_river.river_job (args, kind, max_attempts, queue, state, metadata, finalized_at)
			VALUES ($1, 'auto_instantiate', 10, $2, $3::text::iu_river.river_job_state, $4, $5)`,
			string(encoded), text(j.queue, "events"), text(j.state, "completed"),
			text(j.metadata, `{"output": {"status": "instantiated"}}`), at)
	}
}

// write writes all minutes that are missing, and returns how many there were.
func (p past) write(t *testing.T) (n int) {
	t.Helper()
	for {
		var at *time.Time
		require.NoError(t, p.Pool.QueryRow(t.Context(), "SELECT iu_outbox.write_history()").Scan(&at))
		if at == nil {
			return n
		}
		n++
	}
}

// point returns the minute of the history that began at a time.
func (p past) point(t *testing.T, at time.Time) history.Point {
	t.Helper()
	s, err := history.Read(t.Context(), p.Pool, time.Hour)
	require.NoError(t, err)
	require.Len(t, s.Points, 60)
	for _, point := range s.Points {
		if point.At.Equal(at) {
			return point
		}
	}
	require.FailNow(t, "no such minute", "%s in %s to %s", at, s.From, s.Until)
	return history.Point{}
}

func TestAMinuteTellsWhatHappened(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.end(t,
		ended{took: time.Second}, ended{took: 2 * time.Second, at: 59*time.Second + 999*time.Millisecond}, ended{took: 3 * time.Second},
		ended{took: time.Hour, available: 4 * time.Second},                                                                    // was not available before
		ended{took: time.Hour, metadata: `{"output": {"status": "instantiated"}, "snoozes": 1}`},                              // was parked
		ended{took: 5 * time.Second, metadata: `{"output": {"status": "instantiated"}, "snoozes": 2, "retry": {"count": 2}}`}, // was retried
		ended{took: time.Hour, metadata: `{"output": {"status": "instantiated"}, "snoozes": 3, "retry": {"count": 2}}`},       // both
		ended{took: time.Hour, queue: "scaleout"}, ended{took: time.Hour, queue: "scaleout"},
		ended{mode: "dry_run"},
		ended{metadata: `{"output": {"status": "idempotent_replay"}}`},
		ended{state: "cancelled", metadata: `{"output": {"status": "template_not_found"}}`},
		ended{state: "discarded", metadata: `{}`},
		ended{state: "discarded", metadata: `{"unique_key_conflict": "scheduler_discarded"}`},
		ended{state: "cancelled", metadata: `{"cancel_attempted_at": "2026-01-01T00:00:00Z"}`}, // an operator cancelled it and dropped its dead letter
		ended{at: -time.Millisecond}, ended{at: time.Minute},                                   // in other minutes
	)
	p.Exec(t, `INSERT INTO iu_outbox.dead_letter (job_id, status, event, queue, attempts, created_at) VALUES (1000000, 'error', '{}', 'events', 0, $1)`,
		p.minute.Add(time.Second))
	p.Exec(t, `
		INSERT INTO iu_outbox.emission (position, instance_collection_id, event, created_at, emitted_at)
		SELECT n, gen_random_uuid(), '{}', $1::timestamptz + n * interval '20 seconds' - interval '100 milliseconds',
			$1::timestamptz + n * interval '20 seconds'
		FROM generate_series(1, 4) AS n`, p.minute.Add(-30*time.Second)) // two in the previous minute, two in this one
	p.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 4")

	require.GreaterOrEqual(t, p.write(t), 60, "the last hour is known")
	m := p.point(t, p.minute)
	require.True(t, m.Known)
	require.EqualValues(t, 7, m.Composed)
	require.EqualValues(t, 2, m.AfterParking)
	require.EqualValues(t, 2, m.Scaleout)
	require.EqualValues(t, 1, m.DryRun)
	require.EqualValues(t, 3, m.Dead, "two jobs, and a row of which none could be made")
	require.EqualValues(t, 3, m.Announced)
	require.InDelta(t, 0.1, *m.AnnounceP95, 0.001)
	require.InDelta(t, 3, *m.P50, 0.001, "of 1, 2, 3, 4 and 5 seconds: neither parked time nor scale-outs")
	require.InDelta(t, 4.8, *m.P95, 0.001)
	require.Nil(t, m.Inserted, "what was not counted then is not known")
	require.Nil(t, m.Outbox)
	require.Nil(t, m.Workers)
	require.EqualValues(t, 1, p.point(t, p.minute.Add(-time.Minute)).Composed)
	require.EqualValues(t, 1, p.point(t, p.minute.Add(time.Minute)).Composed)

	used, err := history.Templates(t.Context(), p.Pool, time.Hour, 8)
	require.NoError(t, err)
	require.Len(t, used.Templates, 1)
	require.Equal(t, "letter", used.Templates[0].Key)
	require.EqualValues(t, 12, used.Templates[0].Composed, "with those of the minutes before and after")
	require.EqualValues(t, 2, used.Templates[0].Dead)
	require.InDelta(t, 4.8, *used.Templates[0].P95, 0.001)
	require.Len(t, used.Templates[0].Points, 12)
	var sum int64
	for _, n := range used.Templates[0].Points {
		sum += n
	}
	require.EqualValues(t, 14, sum)
}

func TestAMinuteTellsWhatWaitedAtItsEnd(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', $1, 'before')", p.template)
	p.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, created_at)
		SELECT 'e', $1, 'n' || n, now() FROM generate_series(1, 5) AS n`, p.template)
	p.Exec(t, "UPDATE iu_outbox.event SET created_at = now() - interval '10 minutes' WHERE instance_key_suffix = 'before'")
	p.Exec(t, "INSERT INTO iu_outbox.emission (instance_collection_id, event, created_at) VALUES (gen_random_uuid(), '{}', now() - interval '3 s')")
	p.Exec(t, `
		INSERT INTO iu_river.river_job (args, kind, max_attempts, queue, state, metadata, scheduled_at)
		SELECT '{}', 'auto_instantiate', 10, 'events', 'scheduled', m::jsonb, now() + interval '1 day'
		FROM unnest(ARRAY['{"parked": {"gate": "composer"}}', '{"parked": {"gate": "auto-instantiate"}}', '{"parked": {"gate": "composer"}}',
			'{"parked": {"status": "installation_fault"}}', '{}']) AS m`)
	p.Exec(t, `
		INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, started_at, seen_at) VALUES
			('a', 1, 'h', 1, '0.1.0', now() - interval '1 hour', clock_timestamp()),
			('b', 2, 'h', 2, '0.2.0', date_trunc('minute', now() - interval '65 seconds'), clock_timestamp()),
			('dead', 3, 'h', 3, '0.0.9', now() - interval '1 day', now() - interval '1 hour')`)
	p.KeepAlive(t, "a", "b")
	p.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mail', epoch, 0 FROM iu_outbox.emission_counter")
	p.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) VALUES ('lost', 'ffffffff', 9)")
	var at time.Time
	for before := at.Add(-1); !at.Equal(before.Add(time.Minute)); { // repeat it if a minute ended in between
		require.NoError(t, p.Pool.QueryRow(t.Context(), `
			SELECT date_trunc('minute', clock_timestamp() - interval '5 seconds') - interval '2 minutes'`).Scan(&before))
		p.Exec(t, "DELETE FROM iu_outbox.history WHERE at >= $1", before)
		p.Exec(t, "INSERT INTO iu_outbox.history (at, event_seq) VALUES ($1, 1)", before)
		require.NoError(t, p.Pool.QueryRow(t.Context(), "SELECT iu_outbox.write_history()").Scan(&at))
	}
	m := p.point(t, at)
	require.EqualValues(t, 5, *m.Inserted)
	require.EqualValues(t, 6, *m.Outbox)
	require.InDelta(t, 600, *m.OutboxAge, 90)
	require.EqualValues(t, 1, *m.Unannounced)
	require.Positive(t, *m.UnannouncedAge)
	require.EqualValues(t, 2, *m.ParkedComposer)
	require.EqualValues(t, 1, *m.ParkedAutoInstantiate)
	require.EqualValues(t, 1, *m.Held)
	require.EqualValues(t, 2, *m.Workers)

	lags, err := history.Consumers(t.Context(), p.Pool, time.Hour)
	require.NoError(t, err)
	require.Len(t, lags.Consumers, 2)
	require.Equal(t, "lost", lags.Consumers[0].Name)
	require.Nil(t, lags.Consumers[0].Lag[59])
	step := int(at.Sub(lags.From) / time.Minute)
	require.Zero(t, *lags.Consumers[1].Lag[step])
	require.Nil(t, lags.Consumers[1].Lag[step-10], "a gap")
	require.True(t, at.Equal(lags.At(step)))
	only, err := history.Consumers(t.Context(), p.Pool, 7*24*time.Hour, "mail")
	require.NoError(t, err)
	require.Len(t, only.Consumers, 1)
	require.Len(t, only.Consumers[0].Lag, 84)
	require.NotNil(t, only.Consumers[0].Lag[83], "what is now is always known")
}

func TestTheRunningMinuteIsCountedLive(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.write(t)
	p.minute = time.Now()
	p.end(t, ended{at: -time.Millisecond}, ended{at: -2 * time.Millisecond, queue: "scaleout"})
	p.Exec(t, "UPDATE iu_outbox.history SET counted_at = counted_at - interval '30 seconds'")
	p.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'e', $1, 'n' || n FROM generate_series(1, 5) AS n`, p.template)
	p.Exec(t, `INSERT INTO iu_outbox.emission (position, instance_collection_id, event, emitted_at) VALUES (1, gen_random_uuid(), '{}', clock_timestamp())`)
	p.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 1")

	s, err := history.Read(t.Context(), p.Pool, time.Hour)
	require.NoError(t, err)
	var live, scaleout, announced int64
	for _, point := range s.Points[58:] { // a minute may have ended meanwhile
		live, scaleout, announced = live+point.Composed, scaleout+point.Scaleout, announced+point.Announced
	}
	require.Equal(t, []int64{1, 1, 1}, []int64{live, scaleout, announced})

	paces, err := history.ReadPaces(t.Context(), p.Pool)
	require.NoError(t, err)
	require.InDelta(t, 2.0/60, *paces.Now.Composed, 0.0001)
	require.InDelta(t, 1.0/60, *paces.Now.Announced, 0.0001)
	require.Positive(t, *paces.Now.In)
	require.EqualValues(t, 5, *paces.Now.Outbox)
	require.InDelta(t, 1, *paces.Now.P95, 0.01)
	require.Nil(t, paces.Yesterday)

	p.Exec(t, `INSERT INTO iu_outbox.history (at, inserted, composed, scaleout, announced, p95, outbox, outbox_age)
		SELECT date_trunc('minute', now()) - interval '24 hours' + m * interval '1 minute', 60, 120, 60, 300, 0.5 + m / 10.0, 7, 3
		FROM generate_series(-1, 1) AS m`)
	paces, err = history.ReadPaces(t.Context(), p.Pool)
	require.NoError(t, err)
	require.InDelta(t, 1, *paces.Yesterday.In, 0.0001)
	require.InDelta(t, 3, *paces.Yesterday.Composed, 0.0001)
	require.InDelta(t, 5, *paces.Yesterday.Announced, 0.0001)
	require.InDelta(t, 0.6, *paces.Yesterday.P95, 0.0001)
	require.EqualValues(t, 7, *paces.Yesterday.Outbox)
}

func TestStepsSumTheirMinutes(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.Exec(t, `INSERT INTO iu_outbox.history (at, inserted, composed, dead, measured, p50, p95, outbox, workers)
		SELECT m, 10, 5, 1, CASE WHEN extract(minute FROM m)::int % 2 = 0 THEN 3 ELSE 1 END, CASE WHEN extract(minute FROM m)::int % 2 = 0 THEN 1 ELSE 5 END,
			extract(minute FROM m) / 60, extract(minute FROM m), 2
		FROM generate_series(date_trunc('minute', now()) - interval '7 days', date_trunc('minute', now()) - interval '6 hours', interval '1 minute') AS m`)
	for _, r := range history.Ranges {
		s, err := history.Read(t.Context(), p.Pool, r.Span)
		require.NoError(t, err)
		require.Len(t, s.Points, int(r.Span/r.Step))
		require.Equal(t, r.Step, s.Step)
		// The minutes under way may be in two steps.
		require.False(t, s.Points[len(s.Points)-3].Known && r.Span > time.Hour && r.Step < time.Hour, "%s: nobody counted then: a gap", r.Name)
		require.True(t, s.Points[len(s.Points)-1].Known, "what is under way is known")
		require.True(t, s.From.Equal(s.Points[0].At))
	}
	s, err := history.Read(t.Context(), p.Pool, 7*24*time.Hour)
	require.NoError(t, err)
	two := s.Points[40]
	require.EqualValues(t, 1200, *two.Inserted)
	require.EqualValues(t, 600, two.Composed)
	require.EqualValues(t, 120, two.Dead)
	require.InDelta(t, 2, *two.P50, 0.0001, "weighted by what was measured")
	require.InDelta(t, 59.0/60, *two.P95, 0.0001, "the highest")
	require.EqualValues(t, 59, *two.Outbox)
	require.EqualValues(t, 2, *two.Workers)
}

func TestMarksTellOfGatesVersionsAndStarts(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.Exec(t, `INSERT INTO iu_outbox.history (at, started, versions) VALUES
		(now() - interval '50 minutes', 0, '{0.1.0}'), (now() - interval '40 minutes', 1, '{0.1.0,0.2.0}'), (now() - interval '30 minutes', 0, '{0.2.0}'),
		(now() - interval '20 minutes', 2, '{0.2.0}'), (now() - interval '3 hours', 5, '{0.0.1}')`)
	p.Exec(t, `INSERT INTO iu_outbox.audit (actor, action, detail, at) VALUES
		('ann', 'gate.close', '{"gate": "composer"}', now() - interval '45 minutes'),
		('bob', 'gate.open', '{"gate": "composer"}', now() - interval '35 minutes'),
		('bob', 'dead_letter.retry', '{}', now() - interval '5 minutes'), ('old', 'gate.open', '{"gate": "composer"}', now() - interval '2 hours')`)
	p.Exec(t, "UPDATE public.dot_config SET updated_at = now() - interval '35 minutes' WHERE key = 'iu_core.composer_enabled'")
	p.Exec(t, `UPDATE public.dot_config SET value = 'true', updated_by = 'psql', updated_at = now() - interval '10 minutes'
		WHERE key = 'iu_core.auto_instantiate_enabled'`)

	s, err := history.Read(t.Context(), p.Pool, time.Hour)
	require.NoError(t, err)
	var marks []string
	for _, m := range s.Marks {
		marks = append(marks, fmt.Sprintf("%s: %s (%s)", m.Kind, m.Text, m.By))
	}
	require.Equal(t, []string{
		"gate: composer closed (ann)", "version: version 0.2.0 ()", "gate: composer opened (bob)", "start: 2 workers started ()",
		"gate: auto-instantiate opened (psql)",
	}, marks)
}

func TestOneOfManyWritesAMinute(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.end(t, ended{}, ended{})
	var wg sync.WaitGroup
	written := make(chan time.Time, 200)
	for range 4 {
		wg.Go(func() {
			for {
				var at *time.Time
				err := p.Pool.QueryRow(t.Context(), "SELECT iu_outbox.write_history()").Scan(&at)
				if err != nil {
					t.Error(err)
				}
				if err != nil || at == nil {
					return
				}
				written <- *at
			}
		})
	}
	wg.Wait()
	close(written)
	seen := map[time.Time]bool{}
	for at := range written {
		require.False(t, seen[at], "%s was written twice", at)
		seen[at] = true
	}
	p.write(t)
	var composed int
	require.NoError(t, p.Pool.QueryRow(t.Context(), "SELECT sum(composed)::int FROM iu_outbox.history_template").Scan(&composed))
	require.Equal(t, 2, composed, "and counted once")
	require.EqualValues(t, 2, p.point(t, p.minute).Composed)
}

func TestHistoryBeginsWithTheInstallation(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.Exec(t, "UPDATE iu_outbox.epoch SET created_at = $1::timestamptz + interval '30 seconds'", p.minute)
	p.write(t)
	var first time.Time
	require.NoError(t, p.Pool.QueryRow(t.Context(), "SELECT min(at) FROM iu_outbox.history").Scan(&first))
	require.Equal(t, p.minute.UTC(), first.UTC())
}

func TestHistoryIsForgottenAfterSevenDays(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	for _, days := range []int{6, 8} {
		p.Exec(t, "INSERT INTO iu_outbox.history (at) VALUES (now() - $1 * interval '1 day')", days)
		p.Exec(t, "INSERT INTO iu_outbox.history_consumer (at, consumer, lag) VALUES (now() - $1 * interval '1 day', 'mail', 1)", days)
		p.Exec(t, `INSERT INTO iu_outbox.history_template (at, template_collection_id, composed, dead)
			VALUES (now() - $1 * interval '1 day', $2, 1, 0)`, days, p.template)
	}
	p.write(t)
	for _, table := range []string{"history", "history_consumer", "history_template"} {
		var old, young int
		require.NoError(t, p.Pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE at < now() - interval '7 days'),
			count(*) FILTER (WHERE at < now() - interval '5 days') FROM iu_outbox.`+table).Scan(&old, &young))
		require.Equal(t, []int{0, 1}, []int{old, young}, table)
	}
}

func TestMoreJobsThanAreReadStandForAll(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.Exec(t, `
		INSERT INTO iu_river.river_job (args, kind, max_attempts, queue, state, metadata, finalized_at)
		SELECT jsonb_build_object('emit_mode', 'live', 'template_collection_id', $2::uuid), 'auto_instantiate', 10, 'events', 'completed',
			'{"output": {"status": "instantiated"}}', $1::timestamptz + n * interval '10 milliseconds'
		FROM generate_series(0, 5999) AS n`, p.minute, p.template)
	var weight float64
	var rows int
	require.NoError(t, p.Pool.QueryRow(t.Context(), "SELECT sum(weight), count(*) FROM iu_outbox.ended_jobs($1, $2, 6, 100)",
		p.minute, p.minute.Add(time.Minute)).Scan(&weight, &rows))
	require.Equal(t, 600, rows)
	require.InDelta(t, 6000, weight, 120)
}

// The roles can read and write what they should. The server refuses the rest.
func TestRolesAndTheHistory(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	as := func(role string) *pgxpool.Pool {
		pool, err := pgxpool.New(t.Context(), p.URLAs(role))
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		return pool
	}
	read := func(pool *pgxpool.Pool) error {
		for _, r := range []func() error{
			func() error { _, err := history.Read(t.Context(), pool, time.Hour); return err },
			func() error { _, err := history.Consumers(t.Context(), pool, time.Hour); return err },
			func() error { _, err := history.Templates(t.Context(), pool, time.Hour, 8); return err },
			func() error { _, err := history.ReadPaces(t.Context(), pool); return err },
		} {
			if err := r(); err != nil {
				return err
			}
		}
		return nil
	}
	worker, operator := as("iu_worker"), as("iu_operator")
	_, err := worker.Exec(t.Context(), "SELECT iu_outbox.write_history()")
	require.NoError(t, err)
	require.NoError(t, read(worker))
	require.NoError(t, read(operator))
	_, err = operator.Exec(t.Context(), "SELECT iu_outbox.write_history()")
	require.ErrorContains(t, err, "permission denied")
	_, err = worker.Exec(t.Context(), "DELETE FROM iu_outbox.history")
	require.ErrorContains(t, err, "permission denied")
	require.ErrorContains(t, read(as("iu_app")), "permission denied")
	require.ErrorContains(t, read(as("iu_subscriber")), "permission denied")
}

// The pages do not read more if there are more jobs and emissions, whatever the planner knows about them.
func TestReadingTheHistoryReadsFewPages(t *testing.T) {
	t.Parallel()
	p := setupPast(t)
	p.Exec(t, `
		INSERT INTO iu_river.river_job (args, kind, max_attempts, queue, state, metadata, finalized_at)
		SELECT jsonb_build_object('emit_mode', 'live', 'n', n), 'auto_instantiate', 10, 'events', 'completed', '{"output": {"status": "instantiated"}}',
			now() - interval '2 hours' + n * interval '1 millisecond'
		FROM generate_series(1, 30000) AS n`)
	p.Exec(t, `
		INSERT INTO iu_outbox.emission (position, instance_collection_id, event, emitted_at)
		SELECT n, gen_random_uuid(), '{}', now() - interval '2 hours' FROM generate_series(1, 30000) AS n`)
	p.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 30000")
	p.Exec(t, `INSERT INTO iu_outbox.history (at, composed) SELECT m, 5
		FROM generate_series(date_trunc('minute', now()) - interval '7 days', date_trunc('minute', now()) - interval '5 minutes', interval '1 minute') AS m`)
	for _, known := range []string{"SELECT 1", "ANALYZE iu_river.river_job, iu_outbox.emission, iu_outbox.history"} {
		p.Exec(t, known)
		now := time.Now()
		for step, limit := range map[time.Duration]int{time.Minute: 1500, 2 * time.Hour: 2500} {
			last := now.Truncate(step)
			require.Less(t, p.pages(t, history.ReadSQL, last.Add(-83*step), last, step, now, now.Truncate(time.Minute)), limit, "%s, %s", known, step)
		}
		require.Less(t, p.pages(t, "SELECT iu_outbox.count_minute($1, $2, 60, 500)", now.Add(-time.Minute), now), 1000, known)
	}
}

// pages returns how many pages of the database a statement reads.
func (p past) pages(t *testing.T, sql string, args ...any) int {
	t.Helper()
	var plan []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	require.NoError(t, p.Pool.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sql, args...).Scan(&plan))
	return plan[0].Plan.Hit + plan[0].Plan.Read
}
