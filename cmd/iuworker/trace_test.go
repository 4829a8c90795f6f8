package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/trace"
	"github.com/iu-core/iuworker/worker/outbox"
)

func TestTrace(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 2)
	waiting := decode[outbox.Inserted](t, run(t, on(db), "enqueue", "--template", "letter", "--suffix", "w-1", "--json").done(t))
	shown := run(t, on(db), "trace", waiting.EventID.String()).done(t).out
	require.Regexp(t, `(?m)^state +waiting\nwaits for +a worker: none is alive; to start one, run: iuworker work\nevent +`+waiting.EventID.String(), shown)
	require.Regexp(t, `(?m)^outbox row 1 +since .*, live, priority 1, not before .*; iuworker.enqueue by `, shown)
	for _, reference := range []string{waiting.IdempotencyKey, "tpl-inst:auto:w-1"} {
		require.Equal(t, shown, run(t, on(db), "trace", reference).done(t).out)
	}
	scaleOut(t, db, "1").done(t)
	db.Exec(t, "INSERT INTO iu_river.river_queue (name, paused_at, updated_at) VALUES ('scaleout', now(), now())")
	db.Worker(t, "w")
	require.Contains(t, run(t, on(db), "trace", "tpl-inst:auto:spring-1").done(t).out,
		"its queue scaleout, which is paused; to resume it, run: iuworker scaleout resume")
	run(t, on(db), "trace", "tpl-inst:auto:spring-2").failed(t, exitFailed, "not found")

	instance := instantiate(t, db, template, "a-1", "ann")
	db.Exec(t, "SELECT iu_outbox.emit(1000)")
	run(t, on(db), "subscribe", "--consumer", "mail", "--limit", "1").done(t)
	shown = run(t, on(db), "trace", instance.String()).done(t).out
	for _, says := range []string{
		`state +done`, `template +letter, ` + template.String(), `suffix +a-1`, `instance +` + instance.String(),
		`  key +tpl-inst:auto:a-1`, `  composed +.*, live, by ann for x`, `  digest +the same as the template's: `,
		`announcement +cursor [0-9a-f]{8}-1, announced 20`, `consumer mail +has passed it, at position 1`,
	} {
		require.Regexp(t, `(?m)^`+says, shown)
	}
	traces := decode[[]trace.Event](t, run(t, on(db), "trace", "tpl-inst:auto:a-1", "--json").done(t))
	require.Len(t, traces, 1)
	require.Equal(t, instance, traces[0].Instance.ID)

	bury(t, db, template, 1, "template_empty")
	var dead uuid.UUID
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT event_id FROM iu_outbox.dead_letter").Scan(&dead))
	shown = run(t, on(db), "trace", dead.String()).done(t).out
	require.Regexp(t, `(?m)^dead letter 1 +template_empty, since .*, attempts: 1: went wrong$`, shown)
	require.Contains(t, shown, "run: iuworker dead-letters retry --event "+dead.String())

	run(t, on(db), "trace", uuid.NewString()).failed(t, exitFailed, "not found")
	run(t, on(db), "trace", "nothing").failed(t, exitFailed, "not found")
}

// Users can search by what they have: the suffix that they inserted, or the short id that a page shows.
func TestTraceBySuffixAndPrefix(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	const event = "7d1f6a52-3c5e-4a53-9f0e-2b8f0c1d4e61"
	db.Exec(t, `SELECT fn_iu_auto_instantiate_from_event($1::uuid, 'e', $2, 'shop.order-1', 'live', 'ann')`, event, template)
	db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		VALUES ('7d1f6a52-0000-4a53-9f0e-2b8f0c1d4e61', 'e', $1, 'shop.order-2')`, template)
	bury(t, db, template, 1, "invalid_input")
	var instance, key, dead string
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT l.instance_collection_id::text, l.idempotency_key, (SELECT event_id::text FROM iu_outbox.dead_letter)
		FROM iu_auto_instantiate_event_log AS l`).Scan(&instance, &key, &dead))
	for _, reference := range []string{"shop.order-1", "tpl-inst:auto:shop.order-1", "7d1f6a52-3c", instance[:8], key[:6], strings.ToUpper(key[:12])} {
		require.Contains(t, run(t, on(db), "trace", reference).done(t).out, event, reference)
	}
	require.Contains(t, run(t, on(db), "trace", "shop.order-2").done(t).out, "7d1f6a52-0000")
	require.Contains(t, run(t, on(db), "trace", dead[:8]).done(t).out, dead)
	run(t, on(db), "trace", "7d1f6a52").failed(t, exitFailed, `several events begin with "7d1f6a52"`)
	run(t, on(db), "trace", "7d1f6").failed(t, exitFailed, "not found")
	run(t, on(db), "trace", fmt.Sprint("ffffff", "ffffff")).failed(t, exitFailed, "not found")
}
