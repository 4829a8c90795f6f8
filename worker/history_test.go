package worker_test

import (
	"testing"

	"github.com/iu-core/iuworker/internal/iutest"
)

// A worker fills in the hour before its start. The last complete minute has the workers and their versions.
func TestWorkersWriteTheHistory(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	first := start(t, db)
	insert(t, db, template, "a")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'completed'")
	if err := first.Stop(t.Context()); err != nil {
		t.Error(err)
	}

	// No worker ran for the last hour. Two workers fill it in together, with the event in the minute in which it was composed.
	db.Exec(t, "UPDATE iu_outbox.epoch SET created_at = created_at - interval '2 hours'")
	db.Exec(t, "DELETE FROM iu_outbox.history")
	db.Exec(t, "UPDATE iu_river.river_job SET finalized_at = date_trunc('minute', now()) - interval '30 minutes' + interval '5 seconds'")
	start(t, db)
	start(t, db)
	eventually(t, db, "SELECT count(*) >= 60 FROM iu_outbox.history")
	eventually(t, db, `SELECT sum(composed) = 1 AND count(*) FILTER (WHERE composed = 1 AND workers IS NULL) = 1 FROM iu_outbox.history`)
	eventually(t, db, "SELECT count(*) >= 1 FROM iu_outbox.history WHERE workers >= 1 AND versions IS NOT NULL AND outbox = 0")
}
