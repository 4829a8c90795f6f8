package trace_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
	"github.com/iu-core/iuworker/internal/operate/trace"
)

// Finding the event of a suffix reads only a few of tens of thousands of dead letters.
func TestFindReadsABoundedPartOfDeadLetters(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts)
		SELECT n, 'template_not_marked', id, md5(id::text), jsonb_build_object('event_id', id,
			'instance_key_suffix', 'spring-' || 1 + n % 3 || '-' || n, 'emit_mode', 'live', 'actor', 'bulk', 'note', repeat('x', 300)), 'scaleout', 1
		FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 20000) AS n) AS n`)
	db.Exec(t, "VACUUM ANALYZE iu_outbox.dead_letter")
	operatetest.ReadsAtMost(t, db, 100, func(tx pgx.Tx) error {
		var key string
		return tx.QueryRow(t.Context(), trace.KeyOfSuffixSQL, "spring-1-3000").Scan(&key)
	})
}
