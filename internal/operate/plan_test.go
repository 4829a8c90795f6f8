package operate_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
	"github.com/iu-core/iuworker/internal/operate/templates"
)

// Pages read a bounded part of tens of thousands of dead letters, and of a week of a hundred consumers.
func TestPagesReadABoundedPartOfDeadLettersAndOfTheHistory(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	var ids []string
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		ids = append(ids, db.Template(t, key, 1).String())
	}
	db.Exec(t, `INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts)
		SELECT n, 'template_not_marked', id, md5(id::text), jsonb_build_object('event_id', id, 'template_collection_id', ($1::text[])[1 + n % 5],
			'instance_key_suffix', 'spring-' || 1 + n % 3 || '-' || n, 'emit_mode', 'live', 'actor', 'bulk', 'note', repeat('x', 300)), 'scaleout', 1
		FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 20000) AS n) AS n`, ids)
	db.Exec(t, `INSERT INTO iu_outbox.history_consumer
		SELECT at, 'consumer-' || n, n FROM generate_series(1, 100) AS n,
			generate_series(date_trunc('hour', now()) - interval '7 days', now(), interval '20 minutes') AS at`)
	db.Exec(t, "VACUUM ANALYZE iu_outbox.dead_letter")
	db.Exec(t, "VACUUM ANALYZE iu_outbox.history_consumer")

	operatetest.ReadsAtMost(t, db, 1000, func(q pgx.Tx) error {
		listed, _, err := templates.ReadPage(t.Context(), q, templates.Page{Limit: 50})
		require.Len(t, listed, 5)
		require.Equal(t, operate.Count{N: 100, More: true}, listed[0].DeadLetters)
		return err
	})
	const week = 7 * 24 * 60 * 60 * 1e9
	operatetest.ReadsAtMost(t, db, 6000, func(q pgx.Tx) error {
		series, err := history.Consumers(t.Context(), q, week)
		require.Len(t, series.Consumers, 100)
		return err
	})
	operatetest.ReadsAtMost(t, db, 3000, func(q pgx.Tx) error {
		series, err := history.Consumers(t.Context(), q, week, "consumer-7")
		require.Len(t, series.Consumers, 1)
		return err
	})
}
