package verify_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/operate/verify"
)

func run(t *testing.T, db *iutest.DB) verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), verify.Config{Pool: db.Pool})
	require.NoError(t, err)
	require.Len(t, report.Checks, 11)
	return report
}

func whole(t *testing.T, report verify.Report) {
	t.Helper()
	for _, check := range report.Checks {
		require.Empty(t, check.Findings, check.Name)
		require.Zero(t, check.Wrong, check.Name)
		require.Empty(t, check.WayOut, check.Name)
	}
	require.True(t, report.OK())
}

// After commands of operators nothing is wrong, and the balance counts what they did.
func TestVerifyAccountsForWhatOperatorsDo(t *testing.T) {
	t.Parallel()
	db := operatetest.Lived(t)
	report := run(t, db)
	whole(t, report)
	require.Equal(t, verify.Balance{Claimed: 8, Merged: 1, Composed: 6, DeadLetters: 1}, report.Balance)

	db.Exec(t, `
		SELECT iu_outbox.prune_emissions('0', NULL, 2);
		SELECT iu_outbox.begin_epoch();
		SELECT fn_iu_auto_instantiate_rollback_by_actor('ann', false)`)
	report = run(t, db)
	whole(t, report)
	require.Equal(t, verify.Balance{Claimed: 8, Merged: 1, Composed: 1, DeadLetters: 1, RolledBack: 5}, report.Balance)

	template := db.Template(t, "u", 1)
	operatetest.Say(t, db, template, "unfinished", "live", "ann")
	db.Exec(t, "SELECT iu_outbox.retry_dead_letters(NULL, NULL, 10)")
	require.EqualValues(t, 2, run(t, db).Balance.Waiting)
	stop := operatetest.Work(t, db)
	operatetest.AwaitIdle(t, db)
	db.Exec(t, "UPDATE dot_config SET value = 'false'")
	operatetest.Say(t, db, template, "parked", "live", "ann")
	db.WaitFor(t, operatetest.Patience, "SELECT EXISTS (SELECT FROM iu_river.river_job WHERE metadata ? 'parked')")
	stop()
	whole(t, run(t, db))
	db.Exec(t, `
		SELECT iu_outbox.drop_dead_letters(NULL, NULL, 10);
		SELECT iu_outbox.prune_emissions('0', NULL, 100);
		DELETE FROM iu_river.river_job WHERE state IN ('cancelled', 'completed')`)
	report = run(t, db)
	whole(t, report)
	require.Equal(t, verify.Balance{
		Claimed: 11, Merged: 1, Composed: 2, RolledBack: 5, Retried: 1, Dropped: 1, Unfinished: 1,
	}, report.Balance)

	db.Exec(t, "DELETE FROM iu_river.river_job") // a dead letter now
	require.EqualValues(t, 1, run(t, db).Balance.DeadLetters)

	// A dead letter that was retried and failed again counts as one that remains.
	db.Exec(t, "SELECT iu_outbox.retry_dead_letters(NULL, NULL, 10)")
	stop = operatetest.Work(t, db)
	db.WaitFor(t, operatetest.Patience, "SELECT EXISTS (SELECT FROM iu_river.river_job WHERE metadata ? 'parked')")
	stop()
	db.Exec(t, "DELETE FROM iu_river.river_job")
	report = run(t, db)
	whole(t, report)
	require.Equal(t, []int64{1, 2}, []int64{report.Balance.DeadLetters, report.Balance.Retried})
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	// As superuser: no foreign keys, no triggers.
	const unchecked = `SET session_replication_role = replica;
		ALTER TABLE public.iu_auto_instantiate_event_log DISABLE TRIGGER USER; ALTER TABLE iu_outbox.event DISABLE TRIGGER USER;
		ALTER TABLE iu_outbox.emission DISABLE TRIGGER USER; ALTER TABLE iu_river.river_job DISABLE TRIGGER USER; `
	const checked = "; RESET session_replication_role"
	instance := func(suffix string) string {
		return "(SELECT id FROM iu_piece_collection WHERE collection_key = 'tpl-inst:auto:" + suffix + "')"
	}
	for _, test := range []struct{ name, breakage, check, problem string }{
		{"row deleted", `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
			SELECT md5('x')::uuid, 'e', id, 'x' FROM iu_outbox.template; DELETE FROM iu_outbox.event`,
			"outbox", `event 9dd4e461-268c-8034-f5c8-564e155c67a6 was deleted from the outbox at 2`},
		{"outbox truncated", `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
			SELECT 'e', id, 'x' FROM iu_outbox.template; TRUNCATE iu_outbox.event`, "outbox", `was deleted from the outbox`},
		{"claimed and forgotten", `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
			SELECT 'e', id, 'x' FROM iu_outbox.template; SELECT FROM iu_outbox.claim(10)`, "events", `claimed at .* in no job, log row or dead letter`},
		{"dead letter deleted", "DELETE FROM iu_outbox.dead_letter", "events", "in no job"},
		{"jobs truncated", `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
			SELECT 'e', id, 'x' FROM iu_outbox.template; SELECT FROM iu_outbox.claim(10); TRUNCATE iu_river.river_job`, "events", "in no job"},
		{"job at work", unchecked + "UPDATE iu_river.river_job SET state = 'available', finalized_at = NULL WHERE state = 'cancelled'" + checked,
			"dead letters", `job \d+ is available`},
		{"log row deleted", "DELETE FROM iu_auto_instantiate_event_log WHERE instance_collection_id = " + instance("s2"),
			"instances", "tpl-inst:auto:s2 is not in the log"},
		{"instance by other ways", "INSERT INTO iu_piece_collection (collection_key, created_by) VALUES ('tpl-inst:auto:x', 'me')",
			"instances", "tpl-inst:auto:x is not in the log"},
		{"lineage deleted", unchecked + "DELETE FROM iu_collection_template_instance_lineage WHERE instance_collection_id = " + instance("s2") + checked,
			"log", "it has no lineage"},
		{"lineage of another", "UPDATE iu_collection_template_instance_lineage SET template_collection_id = " + instance("s1") +
			" WHERE instance_collection_id = " + instance("s2"), "log", "its lineage names another template"},
		{"digest not recorded", "UPDATE iu_collection_template_instance_lineage SET template_digest = NULL WHERE instance_collection_id = " + instance("dry"),
			"log", "no digest"},
		{"instance renamed", "UPDATE iu_piece_collection SET collection_key = 'other' WHERE collection_key = 'tpl-inst:auto:s2'",
			"log", "its collection has the key other"},
		{"another suffix", "UPDATE iu_piece_collection SET collection_key = 'tpl-inst:auto:other' WHERE collection_key = 'tpl-inst:auto:s2'",
			"log", "its idempotency key is not that"},
		{"pieces gone", "DELETE FROM iu_piece_membership WHERE collection_id = " + instance("s2"), "log", "has no pieces"},
		{"emission missing", "DELETE FROM iu_outbox.emission WHERE instance_collection_id = " + instance("s2"), "log", "live and has no emission"},
		{"more missing than pruned", "SELECT iu_outbox.prune_emissions('0', NULL, 3); DELETE FROM iu_outbox.emission WHERE position = 5",
			"log", "4 live instances have no emission, and the emissions of 3 were pruned|live and has no emission"},
		{"collection deleted", unchecked + "DELETE FROM iu_piece_collection WHERE collection_key = 'tpl-inst:auto:s2'" + checked,
			"lineage", "its collection is missing"},
		{"template deleted", unchecked + "DELETE FROM iu_piece_collection WHERE collection_key = 't'" + checked, "lineage", "its template .* is missing"},
		{"membership of nothing", unchecked + "DELETE FROM iu_piece_collection WHERE collection_key = 'tpl-inst:auto:s2'" + checked,
			"memberships", "its collection is missing"},
		{"piece deleted", unchecked + "DELETE FROM iu_piece WHERE piece_key = 't/1'" + checked, "memberships", "its piece is missing"},
		{"sequence behind", "SELECT setval('iu_outbox.emission_id_seq', 1)", "sequences",
			`run: SELECT setval\('iu_outbox.emission_id_seq', GREATEST\(\(SELECT max\(id\) FROM iu_outbox.emission\)`},
		{"hole", "DELETE FROM iu_outbox.emission WHERE position = 3", "positions", "it was given, and its emission is missing"},
		{"first one deleted", "DELETE FROM iu_outbox.emission WHERE position = 1", "positions", "it was given, and its emission is missing"},
		{"counter behind", "UPDATE iu_outbox.emission_counter SET position = 3", "positions", "the counter is at 3"},
		{"counter in another epoch", "INSERT INTO iu_outbox.epoch (epoch, after_position) VALUES ('00000000', 5)", "positions", "it is not the last one"},
		{"counted as pruned", "UPDATE iu_outbox.emission_pruned SET position = 2", "positions", "it is counted as pruned"},
		{"position twice", `ALTER TABLE iu_outbox.emission DROP CONSTRAINT emission_position_key;
			UPDATE iu_outbox.emission SET position = 2 WHERE position = 3`, "positions", "it was given 2 times"},
		{"another cursor", `UPDATE iu_outbox.emission SET event = event || '{"cursor": "00000000-2"}' WHERE position = 2`,
			"positions", "cursor 00000000-2, not cursor"},
		{"another instance", `UPDATE iu_outbox.emission SET event = event || '{"id": "x"}' WHERE position = 2`, "positions", "names the instance x"},
		{"not marked", unchecked + "DELETE FROM iu_auto_instantiate_event_log WHERE instance_collection_id = " + instance("s2") + checked,
			"positions", "not marked as rolled back"},
		{"marked and there", "UPDATE iu_outbox.emission SET rolled_back_at = now() WHERE position = 2",
			"positions", "is marked as rolled back, and its instance is in the log"},
		{"dry run announced", "UPDATE iu_auto_instantiate_event_log SET emit_mode = 'dry_run' WHERE instance_collection_id = " + instance("s2"),
			"positions", "announces a dry run"},
		{"emission of nothing", `INSERT INTO iu_outbox.emission (instance_collection_id, event)
			SELECT id, jsonb_build_object('id', id) FROM gen_random_uuid() AS id`,
			"waiting", "its instance is not in the log"},
		{"consumer beyond the end", "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'c', epoch, 6 FROM iu_outbox.emission_counter",
			"consumers", "beyond_end"},
		{"consumer of another history", "INSERT INTO iu_outbox.consumer (name, epoch, position) VALUES ('c', '00000000', 1)", "consumers", "rewound"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := operatetest.Lived(t)
			db.AllowAnyEvent()
			db.Exec(t, test.breakage)
			report := run(t, db)
			require.False(t, report.OK())
			for _, check := range report.Checks {
				if check.Name == test.check {
					require.NotEmpty(t, check.Findings, "%+v", report)
					require.EqualValues(t, len(check.Findings), check.Wrong)
					require.NotEmpty(t, check.WayOut)
					require.NotEmpty(t, check.Findings[0].ID)
					require.Regexp(t, test.problem, check.Findings[0].Problem)
				}
			}
		})
	}
}

// An event that was inserted again after its row was deleted is not lost.
func TestVerifyForgetsRowsThatWereSaidAgain(t *testing.T) {
	t.Parallel()
	db := operatetest.Lived(t)
	template := db.Template(t, "u", 1)
	operatetest.Say(t, db, template, "again", "live", "ann")
	db.Exec(t, "DELETE FROM iu_outbox.event")
	require.EqualValues(t, 1, run(t, db).Wrong)
	operatetest.Say(t, db, template, "again", "live", "ann")
	whole(t, run(t, db))
	stop := operatetest.Work(t, db)
	operatetest.AwaitIdle(t, db)
	stop()
	whole(t, run(t, db))
}

func TestVerifyNamesNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	db := operatetest.Lived(t)
	db.Exec(t, "DELETE FROM iu_piece_membership WHERE collection_id IN (SELECT id FROM iu_piece_collection WHERE collection_key LIKE 'tpl-inst:auto:s%')")
	var done []string
	report, err := verify.Run(t.Context(), verify.Config{
		Pool: db.Pool, Findings: 2, Rest: 1, Done: func(c verify.Check) { done = append(done, c.Name) },
	})
	require.NoError(t, err)
	require.Len(t, done, len(report.Checks))
	for _, check := range report.Checks {
		if check.Name == "log" {
			require.Len(t, check.Findings, 2)
			require.EqualValues(t, 5, check.Wrong)
		}
	}
	require.EqualValues(t, 5, report.Wrong)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = verify.Run(ctx, verify.Config{Pool: db.Pool})
	require.ErrorIs(t, err, context.Canceled)
}

// Workers and operators may read everything that verify needs.
func TestVerifyAsEachRole(t *testing.T) {
	t.Parallel()
	db := operatetest.Lived(t)
	for _, role := range []string{"iu_worker", "iu_operator"} {
		pool, err := pgxpool.New(t.Context(), db.URLAs(role))
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		report, err := verify.Run(t.Context(), verify.Config{Pool: pool})
		require.NoError(t, err, role)
		whole(t, report)
	}
}

// Verifications find nothing wrong while all kinds of changes run concurrently.
func TestVerifyUnderLoad(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 3)
	stop := operatetest.Work(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 3)
	// Each of these runs until the verifications end.
	load := func(statements ...string) {
		go func() {
			var err error
			for i := 0; ctx.Err() == nil && err == nil; i++ {
				_, err = db.Pool.Exec(ctx, statements[i%len(statements)])
			}
			if ctx.Err() != nil {
				err = nil
			}
			ended <- err
		}()
	}
	insert := func(actor, template, mode string) string {
		return fmt.Sprintf(`INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor)
			SELECT md5(n.n::text)::uuid, 'load', %s, '%s:' || n.n, %s, '%[2]s'
			FROM (SELECT (random() * 5000)::int AS n FROM generate_series(1, 20)) AS n
			WHERE (SELECT count(*) FROM iu_outbox.event) + (SELECT count(*) FROM iu_river.river_job WHERE finalized_at IS NULL) < 500`,
			template, actor, mode) // a slow machine could not compose more in time
	}
	known := "'" + template.String() + "'"
	db.Exec(t, "UPDATE iu_outbox.attendance SET grace = 0") // as if workers had run for a long time
	load(insert("ann", known, "CASE WHEN n.n % 5 = 0 THEN 'dry_run' ELSE 'live' END"), insert("bob", known, "'live'"),
		insert("eve", "gen_random_uuid()", "'live'"),
		"SELECT pg_sleep(0.1)")
	load("SELECT public.fn_iu_auto_instantiate_rollback_by_actor('bob', false)", "SELECT pg_sleep(0.2)",
		"SELECT iu_outbox.retry_dead_letters(NULL, NULL, 20)", "SELECT iu_outbox.drop_dead_letters(NULL, NULL, 50)",
		"SELECT iu_outbox.prune_emissions('1 second', NULL, 100)", "SELECT iu_outbox.begin_epoch()")
	load("SELECT pg_sleep(0.3)", "SELECT iu_outbox.set_gate('composer', false, 'me')",
		"SELECT pg_sleep(0.1)", "SELECT iu_outbox.set_gate('composer', true, 'me')",
		`DELETE FROM iu_river.river_job WHERE id IN (
			SELECT id FROM iu_river.river_job WHERE state IN ('completed', 'cancelled') OR state IN ('available', 'scheduled') AND id % 50 = 0
			LIMIT 200 FOR UPDATE SKIP LOCKED)`)
	db.WaitFor(t, operatetest.Patience, "SELECT count(*) > 200 FROM iu_auto_instantiate_event_log")
	var last verify.Report
	for n := 0; n < 5 || last.Balance.RolledBack == 0 || last.Balance.Retried == 0; n++ {
		require.Less(t, n, 200, "nothing is rolled back or retried")
		last = run(t, db)
		whole(t, last)
	}
	cancel()
	for range 3 {
		require.NoError(t, <-ended)
	}
	db.OpenGates(t)
	operatetest.AwaitIdle(t, db)
	stop()
	last = run(t, db)
	whole(t, last)
	b := last.Balance
	require.Equal(t, b.Claimed-b.Merged, b.Composed+b.DeadLetters+b.RolledBack+b.Retried+b.Dropped)
	require.Positive(t, b.RolledBack)
	require.Positive(t, b.Retried)
	t.Logf("%+v", b)
}

// The balance counts all jobs of a scale-out, cancelled ones included.
func TestVerifyAccountsForScaleouts(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	_, err := scaleout.Start(t.Context(), scaleout.Config{
		Pool: db.Pool, Template: db.Template(t, "t", 1), Prefix: "p", Count: 5, Actor: "ann",
	})
	require.NoError(t, err)
	report := run(t, db)
	whole(t, report)
	require.Equal(t, verify.Balance{Scaleout: 5, Unfinished: 5}, report.Balance)
	db.Exec(t, "SELECT iu_outbox.cancel_jobs(ARRAY(SELECT id FROM iu_river.river_job ORDER BY id LIMIT 2))")
	report = run(t, db)
	whole(t, report)
	require.Equal(t, verify.Balance{Scaleout: 5, Unfinished: 3, Dropped: 2}, report.Balance)
	db.Exec(t, "TRUNCATE iu_river.river_job")
	require.EqualValues(t, 3, run(t, db).Wrong)
}
