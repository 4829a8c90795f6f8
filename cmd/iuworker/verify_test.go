package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/verify"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 2)
	one := instantiate(t, db, template, "one", "ann")
	two := instantiate(t, db, template, "two", "ann")
	whole := run(t, on(db), "verify").done(t)
	require.Regexp(t, `(?m)^log +ok +2 rows +each row of the log`, whole.out)
	require.Regexp(t,
		`(?s)\nDead letters:  0 jobs ended as dead letters, 0 of them retried since, 0 dropped, 0 remain\n`+
			`Checked \d+ rows in .*: nothing is wrong\n$`, whole.out)

	db.Exec(t, "DELETE FROM iu_piece_membership WHERE collection_id IN ($1, $2)", one, two)
	broken := run(t, on(db), "verify", "--findings", "1", "--rest", "1").failed(t, exitFailed, "2 problems; their checks say how to fix them")
	require.Regexp(t, `(?m)^log +2 WRONG +2 rows`, broken.out)
	require.Regexp(t, `(?m)^log, 2 wrong:\n  [0-9a-f-]{36}  its collection has no pieces\n  and 1 more\n  fix: `, broken.out)

	db.Exec(t, "DELETE FROM iu_auto_instantiate_event_log WHERE instance_collection_id = $1; ", two)
	asJSON := run(t, on(db), "verify", "--json").failed(t, exitFailed, "2 problems")
	report := decode[verify.Report](t, asJSON)
	require.EqualValues(t, 2, report.Wrong)
	require.Len(t, report.Checks, 11)

	db.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('ann', false)")
	run(t, on(db), "verify").failed(t, exitFailed, "1 problem; its check says how to fix it")
	run(t, on(iutest.Empty(t)), "verify").failed(t, exitFailed, "iuworker migrate up")
}

// Operators can verify with the role iu_operator, through any pooler.
func TestOperatorsMayVerify(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			instantiate(t, db, db.Template(t, "letter", 2), "one", "ann")
			db.Exec(t, "SELECT iu_outbox.emit(10); INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) "+
				"VALUES ('e', gen_random_uuid(), 'x'); SELECT iu_outbox.claim(1); DELETE FROM iu_outbox.claimed")
			db.Worker(t, "w")
			env := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_operator") + "&default_query_exec_mode=" + mode}
			run(t, env, "verify").done(t)
			require.NotContains(t, examine(t, env).done(t).out, "skipped ")
		})
	}
}
