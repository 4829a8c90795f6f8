package main

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// instantiate composes an instance of a template for an actor, as a job does.
func instantiate(t testing.TB, db *iutest.DB, template uuid.UUID, suffix, actor string) (instance uuid.UUID) {
	t.Helper()
	var status string
	err := db.Pool.QueryRow(t.Context(), `
		SELECT r ->> 'status', (r ->> 'instance_collection_id')::uuid
		FROM public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'x', $1, $2, 'live', $3) AS r`,
		template, suffix, actor).Scan(&status, &instance)
	require.NoError(t, err)
	require.Equal(t, "instantiated", status)
	return instance
}

func TestRollback(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 3)
	for _, suffix := range []string{"a-1", "a-2"} {
		instantiate(t, db, template, suffix, "ann")
	}
	used := instantiate(t, db, template, "b-1", "bob")
	count := func() (n int) {
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_auto_instantiate_event_log").Scan(&n))
		return n
	}

	dry := run(t, on(db), "rollback", "--actor", "ann").done(t)
	require.Contains(t, dry.out, "a rollback of ann would delete:")
	require.Contains(t, dry.out, "nothing was changed; to delete them, add --execute")
	require.Equal(t, 3, count())

	run(t, on(db), "rollback", "--actor", "ann", "--expect", "2").failed(t, exitUsage, "--expect needs --execute")
	run(t, on(db), "rollback", "--actor", "ann", "--execute", "--expect", "3").
		failed(t, exitFailed, `nothing was deleted: there are 2 instances of "ann" now, not 3; check again`)
	require.Equal(t, 3, count())
	done := decode[operate.RollbackPreview](t, run(t, on(db), "rollback", "--actor", "ann", "--execute", "--expect", "2", "--json").done(t))
	require.Equal(t, operate.RollbackReport{
		Status: "rolled_back", Actor: "ann",
		Counts: operate.RollbackCounts{EventLog: 2, Lineage: 2, Membership: 6, Collection: 2},
	}, done.RollbackReport)
	require.EqualValues(t, 2, done.Reach.Instances)
	require.Equal(t, 1, count())
	require.Contains(t, run(t, on(db), "rollback", "--actor", "nobody").done(t).out, "nothing to roll back: actor \"nobody\" has no instances\n")
	require.Contains(t, run(t, on(db), "rollback", "--actor", "ann", "--execute").done(t).out, "nothing to roll back")

	db.Exec(t, "SELECT public.fn_iu_collection_mark_template($1, 'bob')", used)
	for _, args := range [][]string{{}, {"--execute"}} {
		blocked := run(t, on(db), append([]string{"rollback", "--actor", "bob"}, args...)...)
		blocked.failed(t, exitFailed, "blocked and nothing was deleted: tpl-inst:auto:b-1 is used by")
		require.Contains(t, blocked.out, "tpl-inst:auto:b-1 is used by public.iu_collection_template")
	}
	require.Equal(t, 1, count())
}

// The preview shows how many instances were already announced, and to which consumers.
func TestRollbackShowsHowFarInstancesCame(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	for i := range announcedShown + 2 {
		instantiate(t, db, template, fmt.Sprint("a-", i), "ann")
	}
	db.Exec(t, "SELECT iu_outbox.emit(100)")
	instantiate(t, db, template, "quiet", "ann")
	db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'billing', c.epoch, 5 FROM iu_outbox.emission_counter AS c")
	db.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, actor) VALUES ('e', $1, 'later', 'ann')", template)

	out := run(t, on(db), "rollback", "--actor", "ann").done(t).out
	for _, line := range []string{
		"already announced: 12 of 13; these announcements stay, marked as rolled back\n",
		"  and 2 more\n", "  consumer billing received 5 of them\n", "still to be composed: 1 events of this actor",
	} {
		require.Contains(t, out, line)
	}
	require.NotContains(t, out, "quiet")
}

// On a terminal the user must type the name.
func TestRollbackAsksOnATerminal(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	instantiate(t, db, template, "a-1", "ann")
	type answer struct {
		typed, says string
		left        int
	}
	for _, a := range []answer{{"anna", "nothing was deleted: you did not type ann", 1}, {"ann", "rolled back ann, deleted:", 0}} {
		out, _ := onTerminal(t, db, a.typed+"\n", "rollback", "--actor", "ann", "--execute")
		require.Contains(t, out, "1 instances of \"ann\" will be deleted. Type ann to confirm: ")
		require.Contains(t, out, a.says)
		var left int
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_auto_instantiate_event_log").Scan(&left))
		require.Equal(t, a.left, left)
	}
}
