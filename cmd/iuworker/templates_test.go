package main

import (
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
	requireCompletion(t, on(db), []string{"card", ":4"}, "templates", "show", "c")
	requireCompletion(t, environment{"IUWORKER_DATABASE_URL": nowhere}, []string{":4"}, "templates", "show", "c")
}
