package iusql_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const composeAlone = "SELECT concat_ws(' ', result ->> 'status', announced) FROM iu_outbox.compose_alone('w', 1, 10)"

// ready returns a database with open gates, a template, and a living worker w of incarnation 1.
func ready(t *testing.T) (*iutest.DB, uuid.UUID) {
	t.Helper()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Exec(t, "SELECT iu_outbox.take_lease('w', 1, 'host', 1, 'test')")
	template := db.Template(t, "t", 3)
	return db, template
}

func insertEvent(t *testing.T, db *iutest.DB, template uuid.UUID, suffix string) {
	t.Helper()
	db.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', $1, $2)", template, suffix)
}

func TestComposeAloneLeavesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	for name, hindrance := range map[string]string{
		"a second row":   "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) SELECT 'e', id, 'b' FROM iu_outbox.template",
		"another time":   "UPDATE iu_outbox.event SET available_at = now() + interval '1 hour'",
		"a low priority": "UPDATE iu_outbox.event SET priority = 2",
		"a dead worker":  "DELETE FROM iu_outbox.worker",
		"a paused queue": "INSERT INTO iu_river.river_queue (name, paused_at, updated_at) VALUES ('events', now(), now())",
		"an unfinished job": `
			INSERT INTO iu_river.river_job (kind, max_attempts, queue, args, unique_key, unique_states)
			SELECT 'auto_instantiate', 10, 'events', to_jsonb(e), iu_outbox.unique_key(e.idempotency_key), '11110001' FROM iu_outbox.event AS e`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, template := ready(t)
			insertEvent(t, db, template, "a")
			db.Exec(t, hindrance)
			before := rows(t, db, "SELECT e::text FROM iu_outbox.event AS e ORDER BY id")
			require.Empty(t, rows(t, db, composeAlone))
			require.Equal(t, before, rows(t, db, "SELECT e::text FROM iu_outbox.event AS e ORDER BY id"))
			require.Empty(t, rows(t, db, "SELECT idempotency_key FROM iu_auto_instantiate_event_log"))
		})
	}
}

func TestComposeAloneLeavesRowsThatOthersHold(t *testing.T) {
	t.Parallel()
	db, template := ready(t)
	insertEvent(t, db, template, "a")
	for name, hold := range map[string]string{
		"the row":       "SELECT FROM iu_outbox.event FOR UPDATE",
		"the suffix":    "SELECT pg_advisory_xact_lock(hashtextextended('iu_core.auto_instantiate:a', 0))",
		"another relay": "SELECT iu_outbox.claim(10)",
		"the template":  "SELECT FROM iu_piece_collection FOR UPDATE",
	} {
		other, err := pgx.Connect(t.Context(), db.URL)
		require.NoError(t, err)
		tx, err := other.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), hold)
		require.NoError(t, err)
		if _, err := db.Pool.Exec(t.Context(), composeAlone); name == "the template" {
			require.ErrorContains(t, err, "55P03")
		} else {
			require.NoError(t, err, name)
		}
		require.NoError(t, tx.Rollback(t.Context()))
		require.NoError(t, other.Close(t.Context()))
		require.Equal(t, untouched, rows(t, db, writtenCounts), name)
	}
	require.Equal(t, []string{"instantiated 1"}, rows(t, db, composeAlone))
	require.Equal(t, []string{"0 1 1"}, rows(t, db, writtenCounts))
}

// writtenCounts are the rows of the outbox, of the ledger, and of the log.
const writtenCounts = `SELECT concat_ws(' ', (SELECT count(*) FROM iu_outbox.event), (SELECT count(*) FROM iu_outbox.claimed),
	(SELECT count(*) FROM iu_auto_instantiate_event_log))`

var untouched = []string{"1 0 0"}

// An event that cannot be composed changes nothing.
func TestComposeAloneLeavesWhatDoesNotEndWell(t *testing.T) {
	t.Parallel()
	db, template := ready(t)
	insertEvent(t, db, template, "a")
	for _, gate := range []string{"composer", "auto-instantiate"} {
		db.Exec(t, "SELECT iu_outbox.set_gate($1, false, 'test')", gate)
		require.Empty(t, rows(t, db, composeAlone))
		db.Exec(t, "SELECT iu_outbox.set_gate($1, true, 'test')", gate)
	}
	db.Exec(t, "UPDATE iu_outbox.event SET template_collection_id = gen_random_uuid()")
	require.Empty(t, rows(t, db, composeAlone))
	require.Equal(t, untouched, rows(t, db, writtenCounts))
}

// Positions follow the order of composing, no matter which function announces: an emission that waits goes first.
func TestComposeAloneAnnouncesInOrder(t *testing.T) {
	t.Parallel()
	db, template := ready(t)
	compose := func(suffix string) string {
		insertEvent(t, db, template, suffix)
		return rows(t, db, composeAlone)[0]
	}
	require.Equal(t, []string{""}, rows(t, db, "SELECT concat(event, result, job, announced) FROM iu_outbox.compose_alone('w', 1, 10)"), "the outbox is empty")
	require.Equal(t, "instantiated 1", compose("1"))
	db.Exec(t, "UPDATE event_type_registry SET active = false WHERE event_type = 'iu.template.instance_auto_composed'")
	require.Equal(t, "instantiated", compose("2"))
	db.Exec(t, "UPDATE event_type_registry SET active = true WHERE event_type = 'iu.template.instance_auto_composed'")
	require.Equal(t, "instantiated", compose("3"), "2 waits")
	db.Exec(t, "SELECT iu_outbox.emit(10)")
	require.Equal(t, "instantiated 4", compose("4"))
	require.Equal(t, []string{"1 1", "2 2", "3 3", "4 4"}, rows(t, db, `
		SELECT concat_ws(' ', e.position, split_part(e.event ->> 'subject', ':', 3)) FROM iu_outbox.emission AS e ORDER BY e.id`))

	db.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, emit_mode) VALUES ('e', $1, 'dry', 'dry_run')", template)
	require.Equal(t, []string{"instantiated"}, rows(t, db, composeAlone))
	require.Equal(t, []string{"0"}, rows(t, db, "SELECT count(*) FROM iu_outbox.emission WHERE position IS NULL"))
}

// A session may itself turn on the setting that announces at once. Its instances are announced like those of any other session.
func TestTheSettingToAnnounceLosesNothing(t *testing.T) {
	t.Parallel()
	db, template := ready(t)
	db.Exec(t, "ALTER DATABASE "+db.Name+" SET iu_outbox.announce = 'on'")
	db.Pool.Reset()
	require.Equal(t, []string{"instantiated", "instantiated", "instantiated"}, rows(t, db, `
		SELECT (fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', '`+template.String()+`', 's-' || g, 'live', 'a')) ->> 'status'
		FROM generate_series(1, 3) AS g`))
	db.Exec(t, `SELECT s.n FROM iu_outbox.compose_batch(ARRAY[gen_random_uuid(), gen_random_uuid()], ARRAY['e', 'e'], ARRAY[$1::uuid, $1],
		ARRAY['b-1', 'b-2'], ARRAY['live', 'live'], ARRAY['a', 'a'], ARRAY[NULL, NULL], ARRAY['', ''], NULL, NULL, 2) AS s`, template)
	db.Exec(t, "SELECT iu_outbox.emit(10)")
	require.Equal(t, []string{"1", "2", "3", "4", "5"}, rows(t, db, "SELECT position FROM iu_outbox.emission ORDER BY position"))
}

// A login that may not call the function does not compose by this way either, although the function runs as its owner.
func TestComposeAloneNeedsTheCallersPrivilege(t *testing.T) {
	t.Parallel()
	db, template := ready(t)
	insertEvent(t, db, template, "a")
	direct, err := pgx.Connect(t.Context(), db.URLAs("iu_worker"))
	require.NoError(t, err)
	switched, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	_, err = switched.Exec(t.Context(), "SET ROLE iu_worker")
	require.NoError(t, err)
	db.Exec(t, "REVOKE EXECUTE ON FUNCTION fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) FROM iu_worker")
	for _, conn := range []*pgx.Conn{direct, switched} {
		var status string
		require.ErrorIs(t, conn.QueryRow(t.Context(), composeAlone).Scan(&status), pgx.ErrNoRows)
		require.Equal(t, untouched, rows(t, db, writtenCounts))
	}
	db.Exec(t, "GRANT EXECUTE ON FUNCTION fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) TO iu_worker")
	var status string
	require.NoError(t, switched.QueryRow(t.Context(), composeAlone).Scan(&status))
	require.Equal(t, "instantiated 1", status)
	require.NoError(t, direct.Close(t.Context()))
	require.NoError(t, switched.Close(t.Context()))
}
