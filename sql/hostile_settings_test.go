package iusql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// The files have the same effect under psql, whatever the settings of the role or database are.
func TestFilesUnderHostileSettings(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "t", 2)
	db.MakeHostile(t, "default_transaction_read_only", "statement_timeout", "lock_timeout", "transaction_timeout", "idle_session_timeout",
		"client_min_messages")
	for _, file := range []string{
		"iu-core/runtime/110_iu_core_dot_conformance_scan.sql", "ops/02_auto_instantiate_productization_proof.sql",
	} {
		out, err := iutest.Psql(t, db, "-f", file)
		require.NoError(t, err, file)
		require.Contains(t, out, "PASS", file)
		require.NotContains(t, out, "FAIL", file)
	}
}

// A printed script creates the same schema under any settings. psql itself needs time to begin.
func TestPrintedScriptUnderHostileSettings(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	script := printed(t, db)
	plain := iutest.Empty(t)
	require.NoError(t, run(t, plain, script))
	want := dump(t, plain)
	db.MakeHostile(t, "default_transaction_read_only", "client_min_messages", "jit") // compiling each plan would take a minute
	require.NoError(t, run(t, db, script))
	db.Exec(t, "ALTER DATABASE "+db.Name+" RESET ALL")
	sameDump(t, want, dump(t, db))
}

// Functions whose effect could depend on their callers' settings have settings of their own.
func TestFunctionsPinTheirSearchPath(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Equal(t, []string{
		"as_uuid(text)", "body_digest(oid)", "composed_event(uuid,text)", // these are called by functions that have settings, or qualify every name
		"event_source()", "event_type()", "keep_last_event()", "parked_jobs(text)", "payload(jsonb,boolean)", "rfc3339(timestamp with time zone)", "ring()",
		"unfinished_jobs(text)", "unique_job(text)", "unique_key(text)", "uuid7()",
	}, rows(t, db, `
		SELECT replace(p.oid::regprocedure::text, 'iu_outbox.', '') FROM pg_proc AS p
		WHERE p.pronamespace = 'iu_outbox'::regnamespace
		  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%') ORDER BY 1`))
}
