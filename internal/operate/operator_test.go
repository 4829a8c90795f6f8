package operate_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// somethingToChange creates something to change for every method of Operator.
func somethingToChange(t *testing.T) *iutest.DB {
	t.Helper()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	db.Exec(t, `
		SELECT public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'x', $1, 'a-1', 'live', 'ann')`, template)
	db.Exec(t, "SELECT iu_outbox.emit(10)")
	db.Exec(t, `
		INSERT INTO iu_outbox.consumer (name, epoch, position)
		SELECT n, c.epoch, 0 FROM iu_outbox.emission_counter AS c, unnest(ARRAY['mail', 'old', 'failing']) AS n`)
	db.Exec(t, `
		INSERT INTO iu_outbox.consumer_dead_letter (consumer, epoch, position, event, tries, error)
		SELECT 'failing', c.epoch, 1, '{}', 3, 'no' FROM iu_outbox.emission_counter AS c`)
	db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts)
		SELECT n, 'cancelled', e.id, md5(e.id::text), pg_catalog.jsonb_build_object('event_id', e.id, 'event_type', 'x',
			'template_collection_id', $1::uuid, 'instance_key_suffix', 's-' || n, 'emit_mode', 'live', 'actor', 'ann'), 'events', 1
		FROM generate_series(1, 3) AS n CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id WHERE n > 0) AS e`, template)
	db.Exec(t, "INSERT INTO iu_river.river_queue (name, updated_at) VALUES ('events', now()), ('scaleout', now())")
	for _, prefix := range []string{"spring", "autumn"} {
		_, err := scaleout.Start(t.Context(), scaleout.Config{Pool: db.Pool, Template: template, Prefix: prefix, Count: 3, Actor: prefix})
		require.NoError(t, err)
	}
	db.Exec(t, "DELETE FROM iu_outbox.audit") // those of the scale-outs
	return db
}

// operatorChanges has a call of each method of Operator that changes something.
var operatorChanges = map[string]func(ctx context.Context, o operate.Operator) error{
	"SetGate": func(ctx context.Context, o operate.Operator) error {
		_, err := o.SetGate(ctx, compose.GateComposer, false)
		return errors.Join(err, second(o.SetGate(ctx, compose.GateComposer, false)))
	},
	"SetSetting": func(ctx context.Context, o operate.Operator) error {
		return errors.Join(second(o.SetSetting(ctx, operate.SettingNotifyPayload, operate.PayloadCursor)),
			second(o.SetSetting(ctx, operate.SettingNotifyPayload, operate.PayloadCursor)))
	},
	"PauseQueue": func(ctx context.Context, o operate.Operator) error {
		return errors.Join(o.PauseQueue(ctx, jobs.QueueScaleout, true), o.PauseQueue(ctx, jobs.QueueScaleout, true))
	},
	"Rollback": func(ctx context.Context, o operate.Operator) error {
		return errors.Join(second(o.Rollback(ctx, "ann", 1)), second(o.Rollback(ctx, "ann", 0)))
	},
	"RetryDeadLetters": func(ctx context.Context, o operate.Operator) error {
		which := operate.Letters{Filter: operate.Selection{Status: "cancelled"}, Limit: 1}
		return second(o.RetryDeadLetters(ctx, which, 1))
	},
	"DropDeadLetters": func(ctx context.Context, o operate.Operator) error {
		which := operate.Letters{Filter: operate.Selection{Actor: "ann"}, Limit: 1}
		return second(o.DropDeadLetters(ctx, which, 1))
	},
	"ChangeEvents": func(ctx context.Context, o operate.Operator) error {
		which := operate.PickedEvents{Filter: operate.EventFilter{State: operate.EventDead}, Most: 10}
		return errors.Join(second(o.ChangeEvents(ctx, operate.EventDrop, which)), second(o.ChangeEvents(ctx, operate.EventDrop, which)))
	},
	"CancelActor": func(ctx context.Context, o operate.Operator) error {
		return errors.Join(second(o.CancelActor(ctx, "spring", 3)), second(o.CancelActor(ctx, "spring", 0)))
	},
	"CancelJobs": func(ctx context.Context, o operate.Operator) error {
		return errors.Join(second(scaleout.Cancel(ctx, o, "autumn", 3)), second(scaleout.Cancel(ctx, o, "autumn", 0)))
	},
	"ResetConsumer": func(ctx context.Context, o operate.Operator) error {
		return second(o.ResetConsumer(ctx, "mail", subscribe.Now(), 1))
	},
	"DeleteConsumer": func(ctx context.Context, o operate.Operator) error {
		return o.DeleteConsumer(ctx, subscribe.Consumer{Name: "old"}, false)
	},
	"ReplayConsumerLetters": func(ctx context.Context, o operate.Operator) error {
		return errors.Join(second(o.ReplayConsumerLetters(ctx, "failing")), second(o.ReplayConsumerLetters(ctx, "mail")))
	},
	"DropConsumerLetters": func(ctx context.Context, o operate.Operator) error {
		return errors.Join(second(o.DropConsumerLetters(ctx, "failing", 1)), second(o.DropConsumerLetters(ctx, "failing", 1)))
	},
	"CreateTemplate": func(ctx context.Context, o operate.Operator) error {
		return second(o.CreateTemplate(ctx, "card", "Card", []string{"letter/1"}))
	},
	"MarkTemplate": func(ctx context.Context, o operate.Operator) error {
		return second(o.MarkTemplate(ctx, "letter", false))
	},
	"SendTest": func(ctx context.Context, o operate.Operator) error {
		return second(o.SendTest(ctx, "letter", "dry_run"))
	},
	"Change": func(ctx context.Context, o operate.Operator) error {
		return o.Change(ctx, "job.retry", map[string]any{}, func(pgx.Tx) error { return nil })
	},
}

func second[T any](_ T, err error) error { return err }

// Every exported method of Operator must be in operatorChanges. A call writes one audit line if it changes something, else none.
func TestEachChangeByAnOperatorLeavesOneAuditLine(t *testing.T) {
	t.Parallel()
	operator := reflect.TypeFor[operate.Operator]()
	require.Len(t, operatorChanges, operator.NumMethod())
	for method := range operator.Methods() {
		name := method.Name
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, operatorChanges, name, "add it there")
			db := somethingToChange(t)
			var told []operate.AuditLine
			o := operate.Operator{
				Pool: db.Pool, Actor: "otto", Remote: "192.0.2.1", Audited: func(line operate.AuditLine) { told = append(told, line) },
			}
			require.NoError(t, operatorChanges[name](t.Context(), o))
			lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
			require.NoError(t, err)
			require.Len(t, lines, 1)
			require.Equal(t, "otto", lines[0].Actor)
			if name != "SetSetting" { // the database function writes its line
				require.Equal(t, lines, told)
				require.Contains(t, string(lines[0].Detail), `"remote": "192.0.2.1"`)
			}
		})
	}
}

func TestAChangeThatIsNotAsWasSeenChangesNothing(t *testing.T) {
	t.Parallel()
	db := somethingToChange(t)
	o := operate.Operator{Pool: db.Pool, Actor: "otto"}
	process := "somebody"
	for name, err := range map[string]error{
		"rollback":             second(o.Rollback(t.Context(), "ann", 2)),
		"dead letters":         second(o.DropDeadLetters(t.Context(), operate.Letters{}, 2)),
		"events":               second(o.ChangeEvents(t.Context(), operate.EventCancel, operate.PickedEvents{Most: 5})),
		"actor":                second(o.CancelActor(t.Context(), "spring", 2)),
		"scale-out":            second(scaleout.Cancel(t.Context(), o, "autumn", 2)),
		"skipped events":       second(o.ResetConsumer(t.Context(), "mail", subscribe.Now(), 0)),
		"a consumer's letters": second(o.DropConsumerLetters(t.Context(), "failing", 0)),
		"a consumer":           o.DeleteConsumer(t.Context(), subscribe.Consumer{Name: "failing", Process: &process}, true),
	} {
		var other *operate.NotAsSeenError
		require.ErrorAs(t, err, &other, name)
		require.Positive(t, other.Now, name)
		require.ErrorContains(t, err, "nothing was changed: ", name)
	}
	lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
	require.NoError(t, err)
	require.Empty(t, lines)
}
