package scaleout_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
)

// The list reads each dead letter of a scale-out only once.
func TestListReadsABoundedPartOfDeadLetters(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `INSERT INTO iu_outbox.scaleout (prefix, template_collection_id, emit_mode, actor, started_by, total)
		SELECT 'spring-' || n, gen_random_uuid(), 'live', 'bulk', 'ann', 1000 FROM generate_series(1, 100) AS n`)
	db.Exec(t, `INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts)
		SELECT n, 'template_not_marked', id, md5(id::text), jsonb_build_object('event_id', id,
			'instance_key_suffix', 'spring-' || 1 + n % 3 || '-' || n, 'emit_mode', 'live', 'actor', 'bulk', 'note', repeat('x', 300)), 'scaleout', 1
		FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 20000) AS n) AS n`)
	db.Exec(t, "VACUUM ANALYZE iu_outbox.dead_letter")
	operatetest.ReadsAtMost(t, db, 25_000, func(q pgx.Tx) error {
		rows, err := q.Query(t.Context(), scaleout.ListSQL, 100, "scaleout")
		if err == nil {
			rows.Close()
		}
		return err
	})
}
