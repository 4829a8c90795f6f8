package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestRefusedEventsLeaveDeadLetters(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	good, empty := db.Template(t, "good", 2), db.Template(t, "empty", 0)
	unmarked := value[uuid.UUID](t, db,
		"INSERT INTO iu_piece_collection (collection_key, title, created_by) VALUES ('plain', 'plain', 'me') RETURNING id")
	start(t, db)
	insert(t, db, good, "taken")
	eventually(t, db, "SELECT EXISTS (SELECT FROM iu_auto_instantiate_event_log)")

	missing := uuid.New()
	refused := map[string]uuid.UUID{
		"template_not_found":    insert(t, db, missing, "a"),
		"template_not_marked":   insert(t, db, unmarked, "b"),
		"template_empty":        insert(t, db, empty, "c"),
		"instance_key_conflict": insert(t, db, good, "taken"),
	}
	for i := range 20 { // valid events among them
		insert(t, db, good, fmt.Sprintf("fine-%d", i))
	}
	for status, eventID := range refused {
		eventually(t, db, "SELECT EXISTS (SELECT FROM iu_outbox.dead_letter WHERE event_id = $1 AND status = $2)", eventID, status)
		require.True(t, value[bool](t, db, `
			SELECT j.state = 'cancelled' AND j.errors[1] ->> 'error' LIKE '%' || d.status || '%' AND d.event = j.args
			FROM iu_outbox.dead_letter AS d JOIN iu_river.river_job AS j ON j.id = d.job_id WHERE d.event_id = $1`, eventID), status)
		require.Equal(t, "dead", value[string](t, db, "SELECT state FROM iu_outbox.event_state($1)", eventID))
		require.Equal(t, map[string]string{
			"template_not_found": "template " + missing.String() + " does not exist", "template_not_marked": "plain is not marked as a template",
			"template_empty": "empty has no active piece", "instance_key_conflict": "another event or collection owns tpl-inst:auto:taken",
		}[status], value[string](t, db, "SELECT detail FROM iu_outbox.dead_letter WHERE event_id = $1", eventID))
	}
	eventually(t, db, "SELECT count(*) = 21 FROM iu_auto_instantiate_event_log")
	require.Equal(t, 4, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
}

func TestParkedJobsResumeWhenTheirGateOpens(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	start(t, db, polling(time.Hour))
	live := insert(t, db, template, "live")
	dry := uuid.New()
	db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode)
		VALUES ($1, 'e', $2, 'dry', 'dry_run')`, dry, template)
	parked := func(id uuid.UUID, gate string) {
		t.Helper()
		eventually(t, db, `SELECT count(*) = 1 FROM iu_outbox.event_state($1)
			WHERE state = 'parked' AND reason LIKE '%iuworker gate open ' || $2`, id, gate)
	}
	parked(live, "auto-instantiate")
	parked(dry, "composer")
	require.True(t, value[bool](t, db, "SELECT bool_and(attempt = 0 AND state = 'scheduled') FROM iu_river.river_job"), "no attempt is used up")

	db.Exec(t, "UPDATE dot_config SET value = ' TRUE ' WHERE key = 'iu_core.composer_enabled'") // as a person may write it in psql
	eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", dry)
	parked(live, "auto-instantiate")

	require.False(t, value[bool](t, db, "SELECT iu_outbox.set_gate('auto-instantiate', true, 'me')"))
	eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", live)
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission"), "dry_run is never announced")
}

func TestParkedJustAfterTheOpeningIsNotForgotten(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	start(t, db, polling(50*time.Millisecond))
	id := insert(t, db, template, "s")
	eventually(t, db, "SELECT state = 'parked' FROM iu_outbox.event_state($1)", id)
	// The gates open without a notification, as for a job that parks just after the notification.
	db.Exec(t, "ALTER TABLE dot_config DISABLE TRIGGER iu_outbox_gate_bell")
	db.OpenGates(t)
	eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", id)
}

// The relay meets the first error, the job the others.
func TestErrorsThatMayPassAreTriedAgain(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		CREATE FUNCTION public.fail_twice() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN -- in the relay, and until the job has failed twice
			IF NOT EXISTS (SELECT FROM iu_river.river_job WHERE metadata #>> '{retry,count}' = '2') THEN
				RAISE EXCEPTION 'come again' USING ERRCODE = '40001';
			END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER fail_twice BEFORE INSERT ON public.iu_auto_instantiate_event_log
			FOR EACH ROW EXECUTE FUNCTION public.fail_twice()`)
	start(t, db)
	id := insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.event_state($1) WHERE state = 'done'", id)
	eventually(t, db, `SELECT state = 'completed' AND metadata #>> '{retry,count}' = '2' AND attempt = 1 FROM iu_river.river_job`)
}

func TestErrorsThatMayPassEndAfterADay(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'no answer' USING ERRCODE = '58030'; END $$;
		CREATE TRIGGER fail BEFORE INSERT ON public.iu_auto_instantiate_event_log
			FOR EACH ROW EXECUTE FUNCTION public.fail()`)
	start(t, db)
	id := insert(t, db, template, "s")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.event_state($1) WHERE state = 'working' AND reason LIKE '%no answer%'", id)
	// The job has failed for a day. It may be running, so the update is repeated until it takes effect.
	eventually(t, db, `
		WITH aged AS (
			UPDATE iu_river.river_job
			SET metadata = jsonb_set(metadata, '{retry,first_at}', to_jsonb(now() - interval '25 hours')), scheduled_at = now(), state = 'available'
			WHERE state IN ('available', 'scheduled') RETURNING 1)
		SELECT EXISTS (SELECT FROM aged) OR EXISTS (SELECT FROM iu_outbox.dead_letter)`)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter WHERE event_id = $1 AND status = 'error' AND detail LIKE '%no answer%'", id)
}

func TestOtherErrorsAreDiscardedAfterTenAttempts(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'a bug' USING ERRCODE = 'P0001'; END $$;
		CREATE TRIGGER fail BEFORE INSERT ON public.iu_auto_instantiate_event_log
			FOR EACH ROW WHEN (NEW.event_type = 'order.paid') EXECUTE FUNCTION public.fail()`)
	start(t, db, polling(20*time.Millisecond))
	id := insert(t, db, template, "s")
	// The waits between attempts double, so skip them.
	eventually(t, db, `
		WITH hurried AS (
			UPDATE iu_river.river_job SET state = 'available', scheduled_at = now()
			WHERE state IN ('available', 'retryable') AND scheduled_at > now() RETURNING 1)
		SELECT EXISTS (SELECT FROM iu_outbox.dead_letter WHERE event_id = $1)`, id)
	require.True(t, value[bool](t, db, "SELECT state = 'discarded' AND attempt = 10 AND cardinality(errors) = 10 FROM iu_river.river_job"))
	require.Equal(t, "error", value[string](t, db, "SELECT status FROM iu_outbox.dead_letter"))

	// After the fix an operator retries the event: the dead letter is deleted and the instance is composed.
	db.Exec(t, "DROP TRIGGER fail ON public.iu_auto_instantiate_event_log")
	require.Equal(t, 1, value[int](t, db, "SELECT iu_outbox.retry_dead_letters('error', NULL, 10)"))
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.event_state($1) WHERE state = 'done'", id)
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
}

func TestJobsEndedByHandLeaveDeadLetters(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	start(t, db) // the gates are closed, so jobs are parked
	cancelled, deleted := insert(t, db, template, "c"), insert(t, db, template, "d")
	for _, id := range []uuid.UUID{cancelled, deleted} {
		eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.event_state($1) WHERE state = 'parked'", id)
	}
	const job = "(SELECT id FROM iu_river.river_job WHERE args ->> 'event_id' = $1)"
	db.Exec(t, "UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now() WHERE id = "+job, cancelled.String())
	db.Exec(t, "DELETE FROM iu_river.river_job WHERE id = "+job, deleted.String())
	require.Equal(t, "cancelled", value[string](t, db, "SELECT status FROM iu_outbox.dead_letter WHERE event_id = $1", cancelled))
	require.Equal(t, "deleted", value[string](t, db, "SELECT status FROM iu_outbox.dead_letter WHERE event_id = $1", deleted))

	// A retry in River UI deletes the dead letter.
	db.Exec(t, "UPDATE iu_river.river_job SET state = 'available', finalized_at = NULL WHERE id = "+job, cancelled.String())
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
}
