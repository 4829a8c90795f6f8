package main

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// bury inserts n dead letters of each status.
func bury(t testing.TB, db *iutest.DB, template uuid.UUID, n int, statuses ...string) {
	t.Helper()
	db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, detail, event_id, event, queue, attempts)
		SELECT (SELECT COALESCE(max(job_id), 0) FROM iu_outbox.dead_letter) + row_number() OVER (), s.status, E'went\nwrong', e.id,
		       jsonb_build_object('event_id', e.id, 'event_type', 'x', 'template_collection_id', $1::uuid,
		           'instance_key_suffix', s.status || '-' || e.id, 'emit_mode', 'live', 'actor', 'ann', 'priority', 2), 'events', 1
		FROM unnest($2::text[]) AS s (status)
		CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id FROM generate_series(1, $3) AS n WHERE s.status <> '') AS e`,
		template, statuses, n)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	count := func(table string) (n int) {
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox."+table).Scan(&n))
		return n
	}
	require.Equal(t, "no dead letters\n", run(t, on(db), "retry", "--list").done(t).out)
	require.Equal(t, "no dead letters\n", run(t, on(db), "retry", "--all").done(t).out)

	bury(t, db, template, 2500, "template_not_found")
	bury(t, db, template, 3, "cancelled", "invalid_input")
	letters := decode[[]operate.DeadLetter](t, run(t, on(db), "retry", "--list", "--status", "invalid_input", "--json").done(t))
	require.Len(t, letters, 3)
	listed := run(t, on(db), "retry", "--list").done(t).out
	require.Regexp(t, `\n20\S+Z  [0-9a-f-]{36}  letter +template_not_found-[0-9a-f-]{36} +template_not_found +went wrong\n`, listed)
	require.Contains(t, listed, "\nthese are the oldest 100; there are more")
	require.NotContains(t, run(t, on(db), "retry", "--list", "--status", "cancelled").done(t).out, "more")
	require.Contains(t, run(t, on(db), "retry", "--list", "--json").errOut, "Dead letters: there are more")

	require.Equal(t, "1 retried\n", run(t, on(db), "retry", "--event", letters[1].EventID.String()).done(t).out)
	require.Equal(t, 1, count("event"))
	for _, mode := range [][]string{{}, {"--drop"}, {"--list"}} {
		require.Equal(t, "no dead letters with status nonsense; to see all, run: iuworker dead-letters list\n",
			run(t, on(db), append([]string{"retry", "--status", "nonsense"}, mode...)...).done(t).out)
	}
	require.JSONEq(t, `{"retried": 2500, "left": 0}`, run(t, on(db), "retry", "--status", "template_not_found", "--json").done(t).out)
	require.Equal(t, 2501, count("event"))
	require.Equal(t, 5, count("dead_letter"))
	require.Equal(t, "2 dropped\n", run(t, on(db), "retry", "--status", "invalid_input", "--drop", "--expect", "2").done(t).out)
	require.Equal(t, "3 retried\n", run(t, on(db), "retry", "--all").done(t).out)
	require.Zero(t, count("dead_letter"))
	require.Equal(t, 6, count("audit"), "a line for each transaction that moved something")
}

func TestRetryLeavesWhatTheOutboxRefuses(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	bury(t, db, template, 1200, "refused")
	db.Exec(t, `UPDATE iu_outbox.dead_letter SET event = event || '{"instance_key_suffix": " "}'`)
	bury(t, db, template, 1, "good")
	r := run(t, on(db), "retry", "--all")
	r.failed(t, exitFailed, "1200 dead letters remain: the outbox refuses their events")
	require.Equal(t, "1 retried\n", r.out)
	require.Equal(t, "1200 dropped\n", run(t, on(db), "retry", "--all", "--drop", "--yes").done(t).out)
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
