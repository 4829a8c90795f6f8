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
	operator := operate.Operator{Pool: db.Pool, Actor: "otto"}
	some := operate.Letters{Filter: operate.Selection{Status: "cancelled"}}

	moved, err := operator.RetryDeadLetters(t.Context(), some, 4)
	require.NoError(t, err)
	require.Equal(t, operate.Moved{Done: 2, Left: 2}, moved)
	moved, err = operator.RetryDeadLetters(t.Context(), operate.Letters{}, 4)
	require.NoError(t, err)
	require.Zero(t, moved.Done, "those that stay are still refused")

	moved, err = operator.DropDeadLetters(t.Context(), some, 4)
	require.NoError(t, err)
	require.Equal(t, operate.Moved{Done: 2}, moved)
	left, err := operate.CountDeadLetters(t.Context(), db.Pool, operate.Selection{})
	require.NoError(t, err)
	require.Zero(t, left)
}
