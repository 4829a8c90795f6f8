package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/templates"
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Contains(t, run(t, on(db), "templates").done(t).out, "no templates; to create one, run: iuworker templates create")
	db.Exec(t, `INSERT INTO iu_piece (piece_key, body) VALUES ('greeting', '{}'), ('terms', '{}')`)
	create := []string{"templates", "create", "letter", "--title", "A letter", "terms", "greeting"}
	run(t, on(db), create...).failed(t, exitFailed, "the gate composer is closed; open it first: iuworker gate open composer")
	db.OpenGates(t)
	run(t, on(db), "templates", "create", "letter", "--title", "A letter", "greting", "terms").
		failed(t, exitFailed, `no such piece: "greting"`)
	require.Equal(t, "created letter, version 1\n", run(t, on(db), create...).done(t).out)
	run(t, on(db), create...).failed(t, exitFailed, "the collection \"letter\" exists already; to mark it, run: iuworker templates mark letter")

	template := db.Template(t, "card", 3)
	instantiate(t, db, template, "card-1", "ann")
	out := run(t, on(db), "templates").done(t).out
	require.Regexp(t, `(?m)^KEY +TITLE +PIECES +VERSION +INSTANCES +LAST\ncard +.* 3 +1 +1 +\d{4}-.*\nletter +A letter +2 +1 +0$`, out)
	require.Contains(t, run(t, on(db), "templates", "--limit", "1").done(t).out, "to list them, run: iuworker templates --after card")
	require.NotContains(t, run(t, on(db), "templates", "--after", "card").done(t).out, "card ")

	detail := decode[templates.Detail](t, run(t, on(db), "templates", "show", "letter", "--json").done(t))
	require.Equal(t, []string{"terms", "greeting"}, detail.PieceKeys, "in the order that was given")
	require.Regexp(t, `piece 1 +terms\npiece 2 +greeting\n`, run(t, on(db), "templates", "show", "letter").done(t).out)
	run(t, on(db), "templates", "show", "lettr").
		failed(t, exitFailed, `there is no template "lettr", did you mean letter?; to list the templates, run: iuworker templates`)

	require.Equal(t, "unmarked letter\n", run(t, on(db), "templates", "mark", "letter", "--off").done(t).out)
	require.NotContains(t, run(t, on(db), "templates").done(t).out, "letter")
	require.Equal(t, "marked letter, version 1\n", run(t, on(db), "templates", "mark", "letter").done(t).out)
	run(t, on(db), "templates", "mark", "nope").failed(t, exitFailed, `no such collection: "nope"`)
	run(t, on(db), "templates", "create", "letter").failed(t, exitUsage, "needs a key and at least one piece")

	audit := run(t, on(db), "audit").done(t).out
	require.Regexp(t, `(?s)NUMBER.*template.mark.*template.unmark.*template.create`, audit, "the latest first")
	require.Contains(t, run(t, on(db), "audit", "--limit", "2").done(t).out, "there are more; to list them, run: iuworker audit --before 2")
	require.Equal(t, []string{"card", ":4"}, strings.Fields(run(t, on(db), "__complete", "templates", "show", "c").out))
	require.Equal(t, []string{":4"}, strings.Fields(run(t, environment{"IUWORKER_DATABASE_URL": nowhere}, "__complete", "templates", "show", "c").out))
}

func TestCancelAnActor(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	scaleOut(t, db, "1100").done(t)
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'running' WHERE args ->> 'instance_key_suffix' = 'spring-5'`)
	db.Exec(t, `UPDATE iu_river.river_job SET args = args || '{"actor": "another"}' WHERE args ->> 'instance_key_suffix' = 'spring-6'`)
	var actor string
	require.NoError(t, db.Pool.QueryRow(t.Context(), `SELECT args ->> 'actor' FROM iu_river.river_job LIMIT 1`).Scan(&actor))
	run(t, on(db), "cancel", "--actor", actor).failed(t, exitUsage, "nothing was cancelled: pass --yes, or --expect 1098, to confirm")
	run(t, on(db), "cancel").failed(t, exitUsage, "--actor is missing")
	require.Equal(t, "1098 cancelled; 1 are running or still in the outbox: run it again in a moment\n",
		run(t, on(db), "cancel", "--actor", actor, "--expect", "1098").done(t).out)
	require.Equal(t, "0 cancelled; 1 are running or still in the outbox: run it again in a moment\n",
		run(t, on(db), "cancel", "--actor", actor).done(t).out)
	var letters, lines int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM iu_outbox.dead_letter),
			(SELECT count(*) FROM iu_outbox.audit WHERE action = 'actor.cancel' AND detail ->> 'actor' = $1)`, actor).Scan(&letters, &lines))
	require.Equal(t, []int{0, 2}, []int{letters, lines})
}

func TestDeadLettersByVerbs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	bury(t, db, template, 2, "invalid_input", "template_empty")
	db.Exec(t, "UPDATE iu_outbox.dead_letter SET detail = NULL WHERE status = 'template_empty'")
	require.Contains(t, run(t, on(db), "dead-letters", "list").done(t).out, "template_empty  template letter has no active pieces\n")
	require.Equal(t, "no dead letters with status template_emty, did you mean template_empty?; to see all, run: iuworker dead-letters list\n",
		run(t, on(db), "dead-letters", "retry", "--status", "template_emty").done(t).out)
	require.Equal(t, "2 dropped\n", run(t, on(db), "dead-letters", "drop", "--status", "template_empty", "--yes").done(t).out)
	run(t, on(db), "dead-letters", "drop", "--all").failed(t, exitUsage, "pass --yes, or --expect 2, to confirm")
	require.Equal(t, "2 retried\n", run(t, on(db), "dead-letters", "retry", "--all").done(t).out)
	run(t, on(db), "dead-letters", "retry").failed(t, exitUsage, "say which dead letters")
	run(t, on(db), "dead-letters").failed(t, exitUsage, "dead-letters needs a command: one of drop, list, retry")
}

// Users paste what they have at hand: the suffix that they inserted, or the short id that a page shows.
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

func TestConsumersAreCompleted(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "SELECT iu_outbox.open_consumer('mail', NULL, NULL), iu_outbox.open_consumer('search', NULL, NULL)")
	require.Equal(t, []string{"mail", ":4"}, strings.Fields(run(t, on(db), "__complete", "consumers", "delete", "m").out))
}
