package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/sql/iutest"
	"github.com/iu-core/iuworker/worker/operate"
)

// alive makes it look as if a worker were.
const alive = `INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at)
	VALUES ('w', 1, 'h', 1, '1', now() + interval '1 hour')`

func TestDoctor(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Exec(t, alive)
	well := run(t, on(db), "doctor").done(t)
	require.Regexp(t, `(?m)^ok       connection     database `+db.Name+` at 127\.0\.0\.1:\d+, user postgres, answers in `, well.out)
	require.NotContains(t, well.out, "next:")

	db.Exec(t, "DELETE FROM iu_outbox.worker")
	sick := run(t, on(db), "doctor").failed(t, exitFailed, "1 of 32 checks fail; begin with workers: iuworker work")
	require.Regexp(t, `(?m)^fail     workers        no worker is alive: nothing is composed\n +start one\n +next: iuworker work$`, sick.out)
	require.Regexp(t, `\n\d+ ok, \d+ warn, 1 fail, \d+ skipped\n$`, sick.out)

	asJSON := run(t, on(db), "doctor", "--json")
	require.Equal(t, exitFailed, asJSON.code)
	report := decode[operate.DoctorReport](t, asJSON)
	require.Len(t, report.Checks, 32)
	require.Equal(t, 1, report.Count(operate.HealthFail))
}

// It answers where nothing else does, and keeps passwords to itself.
func TestDoctorWhereThereIsNothing(t *testing.T) {
	t.Parallel()
	gone := run(t, environment{"DATABASE_URL": "postgres://me:s3cret@127.0.0.1:1/x"}, "doctor").
		failed(t, exitFailed, "1 of 32 checks fail; begin with connection")
	require.Contains(t, gone.out, "cannot connect to PostgreSQL at 127.0.0.1:1 as user me, database x")
	require.Equal(t, 31, strings.Count(gone.out, "there is no connection"))
	require.NotContains(t, gone.out+gone.errOut, "s3cret")

	empty := run(t, on(iutest.Empty(t)), "doctor").failed(t, exitFailed, "begin with schema: iuworker migrate up")
	require.Contains(t, empty.out, "this database has no iuworker schema")
	run(t, on(iutest.Empty(t)), "doctor", "now").failed(t, exitUsage, "doctor takes no argument")
}
