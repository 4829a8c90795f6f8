package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

func TestMigrate(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	require.Contains(t, run(t, on(db), "migrate", "status").done(t).out, "to bring it up to date, run: iuworker migrate up")
	up := run(t, on(db), "migrate", "up", "--log-level", "warn").done(t)
	require.Regexp(t, `(?m)^applied 32, iu-core baseline \(created\)$`, up.out)
	require.Regexp(t, `(?m)^the schema is now at version 36$`, up.out)
	again := decode[iusql.Result](t, run(t, on(db), "migrate", "up", "--json", "--log-level", "warn").done(t))
	require.Equal(t, again.From, again.To)
	require.Empty(t, again.Versions)

	report := decode[iusql.StatusReport](t, run(t, on(db), "migrate", "status", "--json").done(t))
	require.True(t, report.Current)
	require.Regexp(t, `(?m)^32 +iu-core baseline +applied +\d{4}-.* +created$`, run(t, on(db), "migrate", "status").done(t).out)

	db.Template(t, "letter", 1)
	run(t, on(db), "enqueue", "--template", "letter").done(t)
	refused := run(t, on(db), "migrate", "down", "--to", "32", "--log-level", "warn")
	refused.failed(t, exitFailed, "outbox")
	require.Contains(t, refused.errOut, "--force")
	down := run(t, on(db), "migrate", "down", "--to", "32", "--force", "--log-level", "warn").done(t)
	require.Regexp(t, `(?m)^removed 34, outbox$`, down.out)
	require.Regexp(t, `(?m)^the schema is now at version 32$`, down.out)
	run(t, on(db), "gate", "status").failed(t, exitFailed, "run: iuworker migrate up")
}

func TestMigratePrintsWhatItWouldDo(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	script := run(t, on(db), "migrate", "up", "--print").done(t).out
	var untouched bool
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT to_regclass('public.iu_piece') IS NULL").Scan(&untouched))
	require.True(t, untouched)
	file := filepath.Join(t.TempDir(), "up.sql")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	_, err := iutest.Psql(t, db, "-f", file)
	require.NoError(t, err)
	require.True(t, decode[iusql.StatusReport](t, run(t, on(db), "migrate", "status", "--json").done(t)).Current)
}

func TestAMigrationThatFailsDoesNotAdviseItself(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "ALTER TABLE iu_outbox.consumer RENAME TO consumer_of_old; UPDATE iu_outbox.schema_info SET functions_hash = ''")
	r := run(t, on(db), "migrate", "up", "--log-level", "error").failed(t, exitFailed, `relation "iu_outbox.consumer" does not exist`)
	require.Contains(t, r.errOut, "restore it; what was applied stays, and the same command continues from there")
	require.NotContains(t, r.errOut, "run: iuworker migrate up")
	db.Exec(t, "ALTER TABLE iu_outbox.consumer_of_old RENAME TO consumer")
	run(t, on(db), "migrate", "up", "--log-level", "error").done(t)
}
