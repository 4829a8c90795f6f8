package worker_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/outbox"
)

// jsonNames returns the names that the fields of a struct have in JSON.
func jsonNames[T any]() []string {
	var names []string
	for field := range reflect.TypeFor[T]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// TestEveryColumnOfAnEventIsKnownEverywhere fails if a column of iu_outbox.event was forgotten in one of the places that
// list them: the arguments of a job, the events of applications, add_event and its table in docs/producers.md.
func TestEveryColumnOfAnEventIsKnownEverywhere(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	columns := value[[]string](t, db, `
		SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
		WHERE attrelid = 'iu_outbox.event'::regclass AND attnum > 0 AND NOT attisdropped`)
	require.ElementsMatch(t, columns, jsonNames[jobs.AutoInstantiateArgs]())

	assigned := []string{"id", "idempotency_key", "created_at"} // by the outbox
	given := slices.DeleteFunc(slices.Clone(columns), func(name string) bool { return slices.Contains(assigned, name) })
	require.ElementsMatch(t, given, jsonNames[outbox.Event]())

	arguments := value[[]string](t, db, "SELECT proargnames FROM pg_proc WHERE proname = 'add_event'")
	producers, err := os.ReadFile("../docs/producers.md")
	require.NoError(t, err)
	for _, argument := range arguments {
		require.Contains(t, string(producers), "| `"+argument+"` |")
	}
	for i, argument := range arguments {
		arguments[i] = map[string]string{"template": "template_collection_id", "suffix": "instance_key_suffix"}[argument]
		if arguments[i] == "" {
			arguments[i] = argument
		}
	}
	require.ElementsMatch(t, given, arguments)
}

// TestEveryColumnOfAnEventIsInserted fails if insert_events forgets a column.
func TestEveryColumnOfAnEventIsInserted(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	event := outbox.Event{
		EventID: uuid.New(), EventType: "order.placed", TemplateCollectionID: uuid.New(), InstanceKeySuffix: "letter-1",
		EmitMode: outbox.EmitDryRun, Actor: "ann", Note: "express", Priority: 3, AvailableAt: time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC),
		TraceContext: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
	for _, field := range reflect.ValueOf(event).Fields() {
		require.False(t, field.IsZero(), "give each field of the event a value that is not its default")
	}
	var inserted outbox.Inserted
	require.NoError(t, pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) (err error) {
		inserted, err = outbox.Insert(t.Context(), tx, event)
		return err
	}))
	given, err := json.Marshal(event)
	require.NoError(t, err)
	row := "SELECT (to_jsonb(e) - ARRAY['id', 'idempotency_key', 'created_at'])::text FROM iu_outbox.event AS e WHERE e.id = $1"
	stored := value[string](t, db, row, inserted.ID)
	require.JSONEq(t, strings.ReplaceAll(string(given), "05Z", "05+00:00"), stored)

}
