package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/outbox"
)

func TestEnqueue(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	id := uuid.New()
	args := []string{
		"enqueue", "--template", "letter", "--event-id", id.String(), "--event-type", "order.placed", "--suffix", "shop-order-1",
		"--emit-mode", "dry_run", "--actor", "ann", "--note", "express", "--priority", "3", "--available-at", "2031-01-02T03:04:05+01:00", "--json",
	}
	inserted := decode[outbox.Inserted](t, run(t, on(db), args...).done(t))
	require.Equal(t, id, inserted.EventID)

	var typ, suffix, mode, actor, note, key string
	var to uuid.UUID
	var priority int
	var at time.Time
	row := db.Pool.QueryRow(t.Context(), `
		SELECT event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note, priority, available_at, idempotency_key
		FROM iu_outbox.event WHERE id = $1`, inserted.ID)
	require.NoError(t, row.Scan(&typ, &to, &suffix, &mode, &actor, &note, &priority, &at, &key))
	require.Equal(t, []any{"order.placed", template, "shop-order-1", "dry_run", "ann", "express", 3, inserted.IdempotencyKey},
		[]any{typ, to, suffix, mode, actor, note, priority, key})
	require.True(t, at.Equal(time.Date(2031, 1, 2, 2, 4, 5, 0, time.UTC)), at)
}

func TestEnqueueFillsIn(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	text := run(t, on(db), "enqueue", "--template", "letter", "--in", "2h").done(t).out
	require.Regexp(t, `^event id +[0-9a-f-]{36}\nidempotency key +[0-9a-f]{32}\noutbox id +1\n$`, text)
	var right bool
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT instance_key_suffix = 'letter-' || event_id AND emit_mode = 'live' AND actor = $1 AND priority = 1
		   AND available_at - created_at BETWEEN interval '119 minutes' AND interval '2 hours'
		FROM iu_outbox.event`, systemUser()).Scan(&right))
	require.True(t, right)

	unknown := uuid.NewString()
	run(t, on(db), "enqueue", "--template", unknown).done(t) // its job reports the error, as it does for an application
	run(t, on(db), "enqueue", "--template", "nothing").failed(t, exitFailed, `there is no template "nothing"`)
	db.Template(t, strings.Repeat("k", 300), 1)
	run(t, on(db), "enqueue", "--template", strings.Repeat("k", 300)).failed(t, exitFailed, "give --suffix")
	run(t, on(db), "enqueue", "--template", "letter", "--available-at", "0001-01-02T00:00:00Z").
		failed(t, exitFailed, "available_at must be between 1970 and 9999")
}
