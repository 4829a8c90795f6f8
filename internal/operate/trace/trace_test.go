package trace_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/trace"
)

// tracer is a database without a worker, in which tests create each state.
type tracer struct {
	*iutest.DB

	template uuid.UUID
	event    uuid.UUID
}

func setupTrace(t *testing.T) tracer {
	t.Helper()
	db := iutest.New(t)
	return tracer{DB: db, template: db.Template(t, "letter", 2), event: uuid.New()}
}

func (b tracer) alive(t *testing.T) {
	t.Helper()
	b.Worker(t, "w")
}

func (b tracer) outbox(t *testing.T, availableAt time.Time) {
	t.Helper()
	b.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor, available_at)
		VALUES ($1, 'order.placed', $2, 'a', 'ann', $3)`, b.event, b.template, availableAt)
}

// job inserts a job of the event in a state.
func (b tracer) job(t *testing.T, state, metadata string) {
	t.Helper()
	b.Exec(t, `
		INSERT INTO iu_river.river_job (args, kind, max_attempts, queue, state, metadata, attempted_by, attempt, scheduled_at, finalized_at, errors)
		SELECT pg_catalog.jsonb_build_object('event_id', $1::uuid, 'template_collection_id', $2::uuid, 'instance_key_suffix', 'a',
				'emit_mode', 'live', 'actor', 'ann', 'event_type', 'order.placed',
				'idempotency_key', pg_catalog.md5($1::text || ':' || $2::text || ':a')),
			'auto_instantiate', 10, 'events', $3::iu_river.river_job_state, $4::jsonb, '{w}', 1, '2030-01-02 03:04:05Z',
			CASE WHEN $3 IN ('cancelled', 'completed', 'discarded') THEN now() END,
			CASE WHEN $3 = 'retryable' THEN ARRAY['{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "it broke", "trace": ""}'::jsonb] END`,
		b.event, b.template, state, metadata)
}

func (b tracer) compose(t *testing.T, mode string) (instance uuid.UUID) {
	t.Helper()
	b.OpenGates(t)
	require.NoError(t, b.Pool.QueryRow(t.Context(), `
		SELECT (public.fn_iu_auto_instantiate_from_event($1, 'order.placed', $2, 'a', $3, 'ann') ->> 'instance_collection_id')::uuid`,
		b.event, b.template, mode).Scan(&instance))
	return instance
}

// trace returns the only trace of a reference, by default the event's id.
func (b tracer) trace(t *testing.T, reference ...any) trace.Event {
	t.Helper()
	if len(reference) == 0 {
		reference = []any{b.event}
	}
	traces, err := trace.Find(t.Context(), b.Pool, fmt.Sprint(reference...))
	require.NoError(t, err)
	require.Len(t, traces, 1)
	return traces[0]
}

func (b tracer) requireWaits(t *testing.T, state, waits string) {
	t.Helper()
	event := b.trace(t)
	require.Equal(t, state, event.State)
	require.Contains(t, event.Waits, waits)
}

func TestATraceSaysWhatAnOutboxRowWaitsFor(t *testing.T) {
	t.Parallel()
	b := setupTrace(t)
	b.outbox(t, time.Now())
	b.requireWaits(t, operate.EventWaiting, "none is alive; to start one, run: iuworker work")
	b.alive(t)
	b.requireWaits(t, operate.EventWaiting, "the relay")
	b.Exec(t, "UPDATE iu_outbox.event SET available_at = '2030-01-02 03:04:05Z'")
	b.requireWaits(t, operate.EventWaiting, "not before 2030-01-02 03:04:05 UTC")
	require.Equal(t, "letter", *b.trace(t).TemplateKey)
}

func TestATraceSaysWhatAJobWaitsFor(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]struct{ job, metadata, prepare, state, waits string }{
		"no worker": {"available", "{}", "DELETE FROM iu_outbox.worker", operate.EventWorking, "none is alive"},
		"its turn":  {"available", "{}", "", operate.EventWorking, "its turn in the queue events: 0 jobs are before it"},
		"a pause": {
			"available", "{}", "INSERT INTO iu_river.river_queue (name, paused_at, updated_at) VALUES ('events', now(), now())",
			operate.EventWorking, "its queue events, which is paused",
		},
		"its time":    {"scheduled", "{}", "", operate.EventWaiting, "not before 2030-01-02 03:04:05 UTC"},
		"another try": {"retryable", "{}", "", operate.EventWorking, "its next try at 2030-01-02 03:04:05 UTC; the last one failed: it broke"},
		"a server": {
			"scheduled", `{"retry": {"count": 3, "first_at": "2026-01-01T00:00:00Z", "error": "no server"}}`, "",
			operate.EventWorking, "the last one failed: no server",
		},
		"a gate": {
			"scheduled", `{"parked": {"gate": "composer", "reason": "the composer gate is closed"}}`, "",
			operate.EventParked, "its gate to open: the composer gate is closed",
		},
		"being resumed": {
			"scheduled", `{"parked": {"gate": "composer", "reason": "x"}}`, "UPDATE public.dot_config SET value = 'true'",
			operate.EventParked, "its gate has reopened",
		},
		"its worker": {"running", "{}", "", operate.EventWorking, "running in w"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupTrace(t)
			b.alive(t)
			b.job(t, try.job, try.metadata)
			b.Exec(t, try.prepare)
			b.requireWaits(t, try.state, try.waits)
		})
	}
}

func TestATraceNamesWhoBlocksAJob(t *testing.T) {
	t.Parallel()
	b := setupTrace(t)
	b.alive(t)
	b.OpenGates(t)
	holder, err := pgx.Connect(t.Context(), b.URL+"&application_name=forgotten")
	require.NoError(t, err)
	defer func() { _ = holder.Close(t.Context()) }()
	_, err = holder.Exec(t.Context(), "BEGIN; LOCK TABLE public.iu_piece IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	composed := make(chan error, 1)
	go func() {
		_, err := b.Pool.Exec(t.Context(), "SELECT public.fn_iu_auto_instantiate_from_event($1, 'order.placed', $2, 'a', 'live', 'ann')", b.event, b.template)
		composed <- err
	}()
	iutest.WaitBlocked(t, b.DB, 1)

	b.job(t, "running", "{}")
	blocked := fmt.Sprintf("blocked by pid %d (forgotten, ", holder.PgConn().PID())
	b.requireWaits(t, operate.EventWorking, blocked)
	_, err = holder.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, <-composed)

	b.Exec(t, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor('ann', false)")
	b.Exec(t, `UPDATE iu_river.river_job SET state = 'scheduled', metadata = '{"retry": {"count": 1, "error": "key held"}}'`)
	_, err = holder.Exec(t.Context(), "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('iu_core.auto_instantiate:a', 0))")
	require.NoError(t, err)
	b.requireWaits(t, operate.EventWorking, blocked)
}

func TestATraceTellsHowAnEventEnded(t *testing.T) {
	t.Parallel()
	b := setupTrace(t)
	b.job(t, "available", "{}")
	b.Exec(t, `UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now(),
		metadata = '{"output": {"status": "template_empty", "detail": "no piece"}}'`)
	b.requireWaits(t, operate.EventDead, "template_empty: no piece; fix the cause, then run: iuworker dead-letters retry --event "+b.event.String())
	b.Exec(t, "DELETE FROM iu_outbox.dead_letter")
	b.requireWaits(t, operate.EventGone, "")
	b.Exec(t, "DELETE FROM iu_river.river_job")

	instance := b.compose(t, "live")
	b.requireWaits(t, operate.EventDone, "none is alive")
	b.alive(t)
	b.requireWaits(t, operate.EventDone, "the emitter")
	b.Exec(t, "UPDATE public.event_type_registry SET active = false")
	b.requireWaits(t, operate.EventDone, "to be active again in the registry")
	b.Exec(t, "UPDATE public.event_type_registry SET active = true")
	b.Exec(t, "SELECT iu_outbox.emit(10)")
	event := b.trace(t)
	require.Empty(t, event.Waits)
	require.EqualValues(t, 1, *event.Emission.Position)
	require.True(t, *event.Instance.DigestMatch)
	require.Equal(t, *event.Instance.RecordedDigest, *event.Instance.InstanceDigest)

	b.Exec(t, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor('ann', false)")
	event = b.trace(t, instance)
	require.Equal(t, operate.EventRolledBack, event.State, "an announced instance is known by its id after it is gone")
	require.NotNil(t, event.Emission.RolledBackAt)
	_, err := trace.Find(t.Context(), b.Pool, b.event.String())
	require.ErrorIs(t, err, trace.ErrNotFound)
	b.compose(t, "dry_run")
	require.Empty(t, b.trace(t).Waits, "a dry run is not announced")
}

func TestOneEventHasATraceForEachTemplate(t *testing.T) {
	t.Parallel()
	b := setupTrace(t)
	b.outbox(t, time.Now())
	b.template = uuid.New()
	b.outbox(t, time.Now())
	traces, err := trace.Find(t.Context(), b.Pool, b.event.String())
	require.NoError(t, err)
	require.Len(t, traces, 2)
	require.Less(t, traces[0].IdempotencyKey, traces[1].IdempotencyKey)
}
