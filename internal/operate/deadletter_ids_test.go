package operate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestADeadLetterThatTheOutboxRefusesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, event, queue, attempts)
		SELECT n, 'cancelled', pg_catalog.jsonb_build_object('event_id', gen_random_uuid(), 'event_type', 'x',
			'template_collection_id', gen_random_uuid(), 'instance_key_suffix', CASE n WHEN 2 THEN ' ' ELSE 's' || n END,
			'emit_mode', 'live', 'actor', 'ann', 'priority', 2), 'events', 1
		FROM generate_series(1, 4) AS n;
		UPDATE iu_outbox.dead_letter SET event = '{"event_id": "none"}' WHERE job_id = 4`)
	ids, err := operate.ChooseDeadLetters(t.Context(), db.Pool, operate.Selection{Status: "cancelled"}, 10)
	require.NoError(t, err)
	require.Len(t, ids, 4)

	n, err := operate.RetryIDs(t.Context(), db.Pool, ids)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = operate.Retry(t.Context(), db.Pool, operate.Selection{})
	require.NoError(t, err)
	require.Zero(t, n, "those that stay are still refused")

	n, err = operate.DropIDs(t.Context(), db.Pool, ids)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	left, err := operate.ChooseDeadLetters(t.Context(), db.Pool, operate.Selection{}, 10)
	require.NoError(t, err)
	require.Empty(t, left)
}
