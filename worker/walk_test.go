package worker_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestOutboxRowBecomesInstanceAndEvent(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "welcome", 3)
	client := listen(t, db)
	start(t, db, polling(time.Hour)) // only doorbells can wake it

	eventID := uuid.New()
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor, trace_context)
		VALUES ($1, 'signup', $2, 'signup-7', 'shop',
			'{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}')`, eventID, template)

	var event struct {
		SpecVersion, ID, Source, Type, Subject, Time, Cursor, Traceparent string
		Position                                                          int64
		Data                                                              map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(nextEvent(t, client)), &event))
	require.Equal(t, "1.0", event.SpecVersion)
	require.Equal(t, "iu.template.instance_auto_composed", event.Type)
	require.Equal(t, "/iu-core/"+value[string](t, db, "SELECT current_database()"), event.Source)
	require.Equal(t, "tpl-inst:auto:signup-7", event.Subject)
	require.Equal(t, int64(1), event.Position)
	require.Equal(t, value[string](t, db, "SELECT epoch || '-1' FROM iu_outbox.emission_counter"), event.Cursor)
	require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", event.Traceparent)
	require.Equal(t, map[string]any{
		"instance_collection_id": event.ID, "instance_key": "tpl-inst:auto:signup-7",
		"template_collection_id": template.String(), "template_key": "welcome",
		"event_id": eventID.String(), "event_type": "signup", "emit_mode": "live", "actor": "shop", "piece_count": 3.0,
		"idempotency_key": value[string](t, db, "SELECT idempotency_key FROM iu_auto_instantiate_event_log"),
	}, event.Data)

	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.event"))
	eventually(t, db, `SELECT count(*) = 1 FROM iu_river.river_job
		WHERE state = 'completed' AND metadata #>> '{output,status}' = 'instantiated'`)
	require.Equal(t, "done", value[string](t, db, "SELECT state FROM iu_outbox.event_state($1)", eventID))
}

func TestManyRowsInManyTransactions(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	start(t, db)
	start(t, db)
	for i := range 50 {
		insert(t, db, template, fmt.Sprintf("single-%d", i))
	}
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'bulk', $1, 'bulk-' || g FROM generate_series(1, 1200) AS g`, template)
	eventually(t, db, "SELECT count(*) = 1250 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.Equal(t, 1250, value[int](t, db, "SELECT max(position)::int FROM iu_outbox.emission"))
	require.Equal(t, 1250, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
}

func TestDuplicatesMakeOneInstance(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	const rows = `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
		SELECT '00000000-0000-0000-0000-000000000001', 'e', $1, 'dup', 'actor ' || g FROM generate_series(1, 30) AS g`
	db.Exec(t, rows, template)
	start(t, db)
	start(t, db)
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_river.river_job"), "one batch, one job")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.Equal(t, "actor 1", value[string](t, db, "SELECT triggered_by FROM iu_auto_instantiate_event_log"), "the lowest id wins")

	// The same event again after the job has ended, and once more after River has deleted the job.
	for _, forget := range []bool{false, true} {
		eventually(t, db, "SELECT bool_and(state = 'completed') FROM iu_river.river_job")
		if forget {
			db.Exec(t, "DELETE FROM iu_river.river_job")
		}
		db.Exec(t, rows, template)
		eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
		eventually(t, db, `SELECT EXISTS (SELECT FROM iu_river.river_job
			WHERE state = 'completed' AND metadata #>> '{output,status}' = 'idempotent_replay')`)
	}
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"))
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission"))
}

func TestPriorityAndTimeReachTheJob(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	start(t, db)
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, priority, available_at)
		VALUES ('e', $1, 'later', 3, now() + interval '1 hour'), ('e', $1, 'past', 2, now() - interval '1 hour')`, template)
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	require.True(t, value[bool](t, db, `
		SELECT state = 'scheduled' AND priority = 3 AND queue = 'events'
			AND scheduled_at BETWEEN now() + interval '58 minutes' AND now() + interval '61 minutes'
		FROM iu_river.river_job WHERE args ->> 'instance_key_suffix' = 'later'`))
	// The job ran at once, but the gates are closed by default, so it is parked.
	eventually(t, db, `SELECT priority = 2 AND metadata ? 'parked'
		FROM iu_river.river_job WHERE args ->> 'instance_key_suffix' = 'past'`)
}
