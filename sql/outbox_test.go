package iusql_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// An application's mistakes are refused in its own statement, and the error names the column.
func TestOutboxRefusesNonsense(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	good := map[string]any{"event_type": "e", "template_collection_id": uuid.New(), "instance_key_suffix": "s"}
	insert := func(change map[string]any) error {
		row := maps.Clone(good)
		maps.Copy(row, change)
		var columns, params []string
		var args []any
		for column, v := range row {
			args = append(args, v)
			columns, params = append(columns, column), append(params, fmt.Sprintf("$%d", len(args)))
		}
		_, err := db.Pool.Exec(t.Context(),
			"INSERT INTO iu_outbox.event ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(params, ", ")+")", args...)
		return err
	}
	require.NoError(t, insert(nil))
	for constraint, change := range map[string]map[string]any{
		"event_type_must_not_be_blank":                       {"event_type": " \t"},
		"event_type_must_not_exceed_200_characters":          {"event_type": strings.Repeat("ä", 201)},
		"instance_key_suffix_must_not_be_blank":              {"instance_key_suffix": ""},
		"instance_key_suffix_must_not_exceed_200_characters": {"instance_key_suffix": strings.Repeat("s", 201)},
		"emit_mode_must_be_dry_run_or_live":                  {"emit_mode": "LIVE"},
		"actor_must_not_be_blank":                            {"actor": ""},
		"actor_must_not_exceed_200_characters":               {"actor": strings.Repeat("a", 201)},
		"note_must_not_exceed_2000_characters":               {"note": strings.Repeat("n", 2001)},
		"priority_must_be_1_to_4":                            {"priority": 5},
		"available_at_must_be_between_1970_and_9999":         {"available_at": "infinity"},
		"created_at_must_be_between_1970_and_9999":           {"created_at": "-infinity"},
		"trace_context_must_be_an_object":                    {"trace_context": `[]`},
		"trace_context_must_not_exceed_4096_bytes":           {"trace_context": `{"a": "` + strings.Repeat("x", 4100) + `"}`},
	} {
		var pgErr *pgconn.PgError
		require.ErrorAs(t, insert(change), &pgErr, constraint)
		require.Equal(t, "23514", pgErr.Code, constraint)
		require.Equal(t, constraint, pgErr.ConstraintName)
	}
	for _, column := range []string{
		"event_id", "event_type", "template_collection_id", "instance_key_suffix", "emit_mode", "actor", "priority",
		"available_at", "trace_context",
	} {
		var pgErr *pgconn.PgError
		require.ErrorAs(t, insert(map[string]any{column: nil}), &pgErr, column)
		require.Equal(t, "23502", pgErr.Code, column)
	}
	require.NoError(t, insert(map[string]any{"instance_key_suffix": strings.Repeat("ä", 200), "note": strings.Repeat("n", 2000)}), "at the limit")
}

// as runs statements as a role that logs in, and returns the SQLSTATE of the first error.
func as(t *testing.T, db *iutest.DB, role string, statements ...string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URLAs(role))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			var pgErr *pgconn.PgError
			require.ErrorAs(t, err, &pgErr, sql)
			return pgErr.Code
		}
	}
	return ""
}

const denied = "42501"

func TestRolesMayDoTheirWorkAndNoMore(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "t", 1)
	db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		SELECT '00000000-0000-0000-0000-000000000001', 'e', id, 's' FROM iu_outbox.template`)
	const insert = `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		VALUES ('e', '00000000-0000-0000-0000-000000000002', 'x')`
	may := map[string][]string{
		"iu_app": {
			insert, insert + " RETURNING id, event_id, idempotency_key, created_at", insert + " ON CONFLICT DO NOTHING",
			// The INSERT of ORMs: it names the identity column, and asks for its value.
			`INSERT INTO iu_outbox.event (id, event_type, template_collection_id, instance_key_suffix)
				VALUES (DEFAULT, 'e', '00000000-0000-0000-0000-000000000002', 'x') RETURNING "event"."id"`,
			"SELECT id, collection_key, title FROM iu_outbox.template",
			"SELECT * FROM iu_outbox.event_state('00000000-0000-0000-0000-000000000001')",
			`LISTEN "iu.template.instance_auto_composed"`,
		},
		"iu_worker": {
			"SELECT count(*) FROM iu_outbox.event", "SELECT * FROM iu_outbox.claim(1)", "SELECT * FROM iu_outbox.emit(1)",
			"SELECT iu_outbox.resume_parked(1)", "SELECT iu_outbox.release_jobs('nobody', NULL)",
			"SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', gen_random_uuid(), 's', 'live', 'a')",
			"UPDATE iu_river.river_job SET priority = 2", "INSERT INTO iu_river.river_job (kind, args) VALUES ('k', '{}')",
		},
		"iu_operator": {
			insert, "SELECT iu_outbox.set_gate('composer', true, 'me')", "SELECT * FROM iu_outbox.gate_status()",
			"SELECT fn_iu_auto_instantiate_rollback_by_actor('nobody', false)",
			"SELECT iu_outbox.retry_dead_letters(NULL, NULL, 1)", "SELECT iu_outbox.drop_dead_letters(NULL, NULL, 1)",
			"SELECT iu_outbox.cancel_jobs('{1}')", "UPDATE iu_river.river_queue SET paused_at = now()",
			"SELECT * FROM iu_outbox.dead_letter", "SELECT * FROM v_iu_auto_instantiate_event_log",
			"SELECT * FROM v_iu_auto_instantiate_event_summary", "SELECT count(*) FROM iu_river.river_job",
		},
		"iu_subscriber": {
			"SELECT position, event FROM iu_outbox.emission WHERE position > 0 ORDER BY position",
			"SELECT epoch, position FROM iu_outbox.emission_counter", "SELECT iu_outbox.open_consumer('mine', NULL, NULL)",
			"UPDATE iu_outbox.consumer SET position = 1 WHERE name = 'mine'", "DELETE FROM iu_outbox.consumer WHERE name = 'mine'",
		},
	}
	for role, statements := range may {
		for _, sql := range statements {
			require.Empty(t, as(t, db, role, sql), "%s may: %s", role, sql)
		}
	}
	mayNot := map[string][]string{
		"iu_app": {
			"SELECT note FROM iu_outbox.event", "DELETE FROM iu_outbox.event", "UPDATE iu_outbox.event SET note = 'x'",
			"SELECT * FROM iu_outbox.emission", "SELECT * FROM iu_outbox.emit(1)", "SELECT * FROM iu_outbox.claim(1)",
			"SELECT count(*) FROM iu_river.river_job", "UPDATE dot_config SET value = 'true'",
			"SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', gen_random_uuid(), 's', 'live', 'a')",
			"SELECT fn_iu_auto_instantiate_rollback_by_actor('nobody', true)", "SELECT iu_outbox.set_gate('composer', true, 'me')",
		},
		"iu_worker": {
			insert, "UPDATE dot_config SET value = 'true'", "SELECT iu_outbox.set_gate('composer', true, 'me')",
			"SELECT fn_iu_auto_instantiate_rollback_by_actor('nobody', false)", "UPDATE iu_outbox.emission SET position = 1",
			"DELETE FROM iu_auto_instantiate_event_log",
		},
		"iu_operator": {
			"UPDATE dot_config SET value = 'true'", "UPDATE iu_outbox.emission SET position = 1", "DELETE FROM iu_outbox.event",
			"SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', gen_random_uuid(), 's', 'live', 'a')",
			"DELETE FROM iu_river.river_job", "DELETE FROM iu_outbox.audit", "UPDATE iu_river.river_job SET state = 'cancelled'",
		},
		"iu_subscriber": {
			insert, "UPDATE iu_outbox.emission SET position = 1", "SELECT * FROM iu_outbox.event", "SELECT * FROM iu_outbox.dead_letter",
			"SELECT * FROM iu_outbox.emit(1)", "UPDATE iu_outbox.emission_counter SET position = 0",
		},
	}
	for role, statements := range mayNot {
		for _, sql := range statements {
			require.Equal(t, denied, as(t, db, role, sql), "%s may not: %s", role, sql)
		}
	}
}

func emitted(t *testing.T, db *iutest.DB) (state string) {
	t.Helper()
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT state FROM iu_outbox.emit(500)").Scan(&state))
	return state
}

// A payload never reaches the limit of NOTIFY; an event that does not fit is read from the table.
func TestPayloadsStayUnderTheLimitOfNotify(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, "UPDATE iu_piece_collection SET collection_key = repeat('ü', 5000) WHERE id = $1", template)
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	_, err = conn.Exec(t.Context(), `LISTEN "iu.template.instance_auto_composed"`)
	require.NoError(t, err)
	// The longest possible suffix, of characters that take six characters each in JSON.
	db.Exec(t, "SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', $1, repeat(E'\\x01', 199) || 's', 'live', 'a')", template)
	require.Equal(t, "emitted", emitted(t, db))
	n, err := conn.WaitForNotification(t.Context())
	require.NoError(t, err)
	require.Less(t, len(n.Payload), 7900)
	var event struct{ Data map[string]any }
	require.NoError(t, json.Unmarshal([]byte(n.Payload), &event))
	require.Equal(t, true, event.Data["truncated"])
	require.Equal(t, template.String(), event.Data["template_collection_id"])
	var whole bool
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT event #>> '{data,template_key}' = repeat('ü', 5000) FROM iu_outbox.emission").Scan(&whole))
	require.True(t, whole)
}

// Live instances that an iu-core composed before the worker's schema existed are announced.
func TestInstancesFromBeforeAreAnnounced(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	for _, file := range []string{"iu-core/032_iu_core_baseline.sql", "iu-core/033_auto_instantiate_from_event.sql"} {
		_, err := iutest.Psql(t, db, "-v", "ON_ERROR_STOP=1", "-f", file)
		require.NoError(t, err)
	}
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	for _, mode := range []string{"live", "dry_run", "live"} {
		db.Exec(t, "SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', $1, gen_random_uuid()::text, $2, 'a')", template, mode)
	}
	up(t, db)
	require.Equal(t, "emitted", emitted(t, db))
	var n int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.emission WHERE position <= 2").Scan(&n))
	require.Equal(t, 2, n)
}
