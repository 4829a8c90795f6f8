package main

import (
	"strings"
	"testing"

	"github.com/iu-core/iuworker/internal/iutest"
)

// Operators can use these commands with the role iu_operator, through any pooler.
func TestOperatorsMayDoWhatOperatorsDo(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "letter", 1)
			instantiate(t, db, template, "a-1", "ann")
			bury(t, db, template, 1, "cancelled")
			db.Exec(t, "SELECT iu_outbox.open_consumer('mail', NULL, NULL)")
			db.Exec(t, "INSERT INTO iu_river.river_queue (name, updated_at) VALUES ('scaleout', now())")
			env := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_operator") + "&default_query_exec_mode=" + mode}
			for _, args := range []string{
				"gate status", "trace tpl-inst:auto:a-1", "gate close composer", "gate open composer", "status", "conformance", "rollback --actor ann",
				"rollback --actor ann --execute --expect 1", "retry --list", "retry --status cancelled", "retry --all --drop --yes",
				"enqueue --template letter --in 1h", "scaleout --template letter --count 2 --prefix p --actor a", "migrate status",
				"scaleout status p", "scaleout cancel p --yes", "scaleout pause", "scaleout resume",
				"consumers", "consumers reset mail --to now --yes", "consumers dead-letters mail", "consumers replay mail",
				"consumers dead-letters mail --drop --yes", "consumers delete mail --yes",
			} {
				t.Log(args)
				run(t, env, strings.Fields(args)...).done(t)
			}
		})
	}
}

func TestOthersMayDoWhatIsTheirs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a")
	app := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_app")}
	run(t, app, "templates").failed(t, exitFailed, "it needs the role iu_operator; as an administrator, run: GRANT iu_operator TO \"iu_app\"")
	run(t, app, "gate", "open", "composer").failed(t, exitFailed, "it needs the role iu_operator; as an administrator, run: GRANT iu_operator TO \"iu_app\"")
	run(t, app, "enqueue", "--template", "letter").done(t)
	subscriber := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_subscriber")}
	run(t, subscriber, "subscribe", "--after", "0", "--limit", "1").done(t)
	run(t, subscriber, "subscribe", "--consumer", "c", "--limit", "1").done(t)
	run(t, subscriber, "subscribe", "--from", "beginning", "--template", "letter", "--limit", "1").done(t)
}
