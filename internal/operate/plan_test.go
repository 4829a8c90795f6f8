package operate_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// What pages read of tens of thousands of dead letters, and of a week of a hundred consumers, is bounded.
func TestPagesReadABoundedPartOfDeadLettersAndOfTheHistory(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `INSERT INTO iu_outbox.scaleout (prefix, template_collection_id, emit_mode, actor, started_by, total)
		SELECT 'spring-' || n, gen_random_uuid(), 'live', 'bulk', 'ann', 1000 FROM generate_series(1, 100) AS n`)
	var templates []string
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		templates = append(templates, db.Template(t, key, 1).String())
	}
	db.Exec(t, `INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts)
		SELECT n, 'template_not_marked', id, md5(id::text), jsonb_build_object('event_id', id, 'template_collection_id', ($1::text[])[1 + n % 5],
			'instance_key_suffix', 'spring-' || 1 + n % 3 || '-' || n, 'emit_mode', 'live', 'actor', 'bulk', 'note', repeat('x', 300)), 'scaleout', 1
		FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 20000) AS n) AS n`, templates)
	db.Exec(t, `INSERT INTO iu_outbox.history_consumer
		SELECT at, 'consumer-' || n, n FROM generate_series(1, 100) AS n,
			generate_series(date_trunc('hour', now()) - interval '7 days', now(), interval '20 minutes') AS at`)
	db.Exec(t, "VACUUM ANALYZE iu_outbox.dead_letter")
	db.Exec(t, "VACUUM ANALYZE iu_outbox.history_consumer")

	reads := func(most int, read func(q operate.Querier) error) {
		t.Helper()
		on := &explaining{pool: db.Pool}
		tx, err := on.BeginTx(t.Context(), pgx.TxOptions{})
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(t.Context()) }()
		require.NoError(t, read(tx))
		require.NotEmpty(t, on.seen)
		for _, statement := range on.seen {
			require.LessOrEqual(t, statement.blocks, most, statement.sql)
		}
	}
	reads(25_000, func(q operate.Querier) error { // each dead letter of a scale-out once
		rows, err := q.Query(t.Context(), operate.ScaleoutsSQL, 100, "scaleout")
		if err == nil {
			rows.Close()
		}
		return err
	})
	reads(100, func(q operate.Querier) error {
		var key string
		return q.QueryRow(t.Context(), operate.KeyOfSuffixSQL, "spring-1-3000").Scan(&key)
	})
	reads(1000, func(q operate.Querier) error {
		templates, _, err := operate.ListTemplates(t.Context(), q, operate.TemplatePage{Limit: 50})
		require.Len(t, templates, 5)
		require.Equal(t, operate.Count{N: 100, More: true}, templates[0].DeadLetters)
		return err
	})
	const week = 7 * 24 * 60 * 60 * 1e9
	reads(6000, func(q operate.Querier) error {
		series, err := operate.ConsumerHistory(t.Context(), q, week)
		require.Len(t, series.Consumers, 100)
		return err
	})
	reads(3000, func(q operate.Querier) error {
		series, err := operate.ConsumerHistory(t.Context(), q, week, "consumer-7")
		require.Len(t, series.Consumers, 1)
		return err
	})
}
