package operate_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestARollbacksReachIsKnownBeforehand(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 2)
	db.Exec(t, "SELECT public.fn_iu_auto_instantiate_from_event($1, 'order.placed', $2, 'a', 'live', 'ann')", uuid.New(), template)
	db.Exec(t, "SELECT iu_outbox.emit(10)")
	db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT n, epoch, p FROM iu_outbox.emission_counter,
		(VALUES ('past', 1), ('behind', 0)) AS c (n, p) UNION ALL SELECT 'lost', 'ffffffff', 9`)
	db.Exec(t, "SELECT public.fn_iu_auto_instantiate_from_event($1, 'x', $2, 'b', 'live', 'ann')", uuid.New(), template)
	db.Exec(t, "SELECT public.fn_iu_auto_instantiate_from_event($1, 'x', $2, 'c', 'dry_run', 'ann')", uuid.New(), template)
	db.Exec(t, "SELECT public.fn_iu_auto_instantiate_from_event($1, 'x', $2, 'd', 'live', 'bob')", uuid.New(), template)

	reach, err := operate.RollbackReach(t.Context(), db.Pool, "ann")
	require.NoError(t, err)
	require.EqualValues(t, 3, reach.Instances)
	require.EqualValues(t, 1, reach.Announced)
	require.EqualValues(t, 1, reach.Waiting)
	require.Len(t, reach.Sample, 3)
	received := map[string]*int64{}
	for _, consumer := range reach.Consumers {
		received[consumer.Name] = consumer.Received
	}
	require.Zero(t, *received["behind"])
	require.EqualValues(t, 1, *received["past"])
	require.Nil(t, received["lost"], "its place is in no history that is known")

	report, err := operate.PreviewRollback(t.Context(), db.Pool, "ann")
	require.NoError(t, err)
	require.Equal(t, reach.Instances, report.Counts.EventLog)
}

func TestTheAuditIsReadFromItsEnd(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for _, action := range []string{"first", "second", "third"} {
		operator := operate.Operator{Pool: db.Pool, Actor: "ann"}
		require.NoError(t, operator.Change(t.Context(), action, map[string]int{"count": 1}, func(pgx.Tx) error { return nil }))
	}
	lines, err := operate.Audit(t.Context(), db.Pool, 0, 2)
	require.NoError(t, err)
	require.Equal(t, "third", lines[0].Action)
	lines, err = operate.Audit(t.Context(), db.Pool, lines[1].ID, 2)
	require.NoError(t, err)
	require.Len(t, lines, 1)
	require.Equal(t, "first", lines[0].Action)
	require.JSONEq(t, `{"count": 1}`, string(lines[0].Detail))
}
