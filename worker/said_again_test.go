package worker_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// A job that has composed counts as running until River stores its end, some time later. If its event is inserted again before
// that, the new row stays in the outbox, and gets its own job afterwards.
func TestEventSaidAgainBeforeTheEndOfItsJobIsWritten(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	start(t, db)
	db.Worker(t, "elsewhere") // the worker itself would soon find that it does not run the job
	event := uuid.New()
	say := func() {
		db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
			VALUES ($1, 'order.paid', $2, 's', 'ann')`, event, template)
	}
	sayBeforeTheEnd := func(jobs int) {
		eventually(t, db, "SELECT count(*) = $1 FROM iu_river.river_job WHERE state = 'completed'", jobs)
		db.Exec(t, `UPDATE iu_river.river_job SET state = 'running', finalized_at = NULL, attempted_at = now(), attempted_by = '{elsewhere}'
			WHERE id = (SELECT min(id) FROM iu_river.river_job)`)
		say()
		other := insert(t, db, template, uuid.NewString())
		eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.event_state($1) WHERE state = 'done'", other)
		require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.event"), "its job runs")
	}
	end := func() {
		db.Exec(t, "UPDATE iu_river.river_job SET state = 'completed', finalized_at = now() WHERE state = 'running'")
		eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	}

	say()
	sayBeforeTheEnd(1)
	end()
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE metadata #>> '{output,status}' = 'idempotent_replay'")

	sayBeforeTheEnd(3)
	db.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('ann', false)")
	end()
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.event_state($1) WHERE state = 'done'", event)
	eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'completed'")
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_auto_instantiate_event_log WHERE triggered_by = 'ann'"))
}
