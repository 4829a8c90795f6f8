package iusql_test

import (
	"crypto/md5"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// A call in which everything is wrong is corrected step by step: each status gives way to the next one.
func TestStatusesComeInTheirOrder(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		args := call{event: uuid.New(), template: uuid.New(), suffix: "order-1", mode: "live"}
		c.Exec(t, "INSERT INTO iu_piece_collection (collection_key, created_by) VALUES ('tpl-inst:auto:order-1', 'somebody')")
		before := c.written(t)

		require.Contains(t, c.must(t, "invalid_input", args).Detail, "p_actor")
		args.actor = "shop"
		c.must(t, "live_gate_closed", args)
		c.gates(t, "false", "true")
		c.must(t, "composer_disabled", args)
		c.gates(t, "true", "true")
		c.must(t, "template_not_found", args)
		require.Equal(t, before, c.written(t))

		args.template = c.Template(t, "kit", 0)
		mark := "SELECT fn_iu_collection_mark_template($1, 'editor', $2)"
		c.Exec(t, mark, args.template, false)
		c.must(t, "template_not_marked", args)
		c.Exec(t, mark, args.template, true)
		c.must(t, "template_empty", args)
		c.Exec(t, `WITH piece AS (INSERT INTO iu_piece (piece_key, body) VALUES ('kit/1', '{}') RETURNING id)
		           INSERT INTO iu_piece_membership (collection_id, piece_id, position, is_active)
		           SELECT $1, id, 1, false FROM piece`, args.template)
		c.must(t, "template_empty", args)
		c.Exec(t, "UPDATE iu_piece_membership SET is_active = true WHERE collection_id = $1", args.template)
		before = c.written(t)
		conflict := c.must(t, "instance_key_conflict", args)
		require.Equal(t, "tpl-inst:auto:order-1", conflict.InstanceKey)
		require.Contains(t, conflict.Detail, "tpl-inst:auto:order-1")
		require.Equal(t, before, c.written(t))

		c.Exec(t, "DELETE FROM iu_piece_collection WHERE collection_key = 'tpl-inst:auto:order-1'")
		first := c.must(t, "instantiated", args)
		require.Equal(t, 1, first.PieceCount)
		require.Equal(t, "tpl-inst:auto:order-1", first.InstanceKey)
		key := md5.Sum([]byte(args.event.String() + ":" + args.template.String() + ":order-1"))
		require.Equal(t, hex.EncodeToString(key[:]), first.IdempotencyKey)

		// A replay is checked before template_empty, and after everything else.
		written := c.written(t)
		c.Exec(t, "UPDATE iu_piece_membership SET is_active = false WHERE collection_id = $1", args.template)
		replay := c.must(t, "idempotent_replay", args)
		require.Equal(t, first.InstanceCollectionID, replay.InstanceCollectionID)
		c.Exec(t, mark, args.template, false)
		c.must(t, "template_not_marked", args)
		c.gates(t, "false", "true")
		c.must(t, "composer_disabled", args)
		c.gates(t, "false", "false")
		c.must(t, "live_gate_closed", args)
		require.Equal(t, written, c.written(t))
	})
}

func TestInvalidInputNamesTheArgument(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	template := c.Template(t, "kit", 2)
	before := c.written(t)
	event := uuid.New()
	long := strings.Repeat("ü", 201)
	for _, try := range []struct {
		argument string
		args     []any
	}{
		{"p_event_id", []any{nil, "e", template, "s", "live", "a"}},
		{"p_event_type", []any{event, nil, template, "s", "live", "a"}},
		{"p_event_type", []any{event, " \t\r\n", template, "s", "live", "a"}},
		{"p_template_collection_id", []any{event, "e", nil, "s", "live", "a"}},
		{"p_instance_key_suffix", []any{event, "e", template, nil, "live", "a"}},
		{"p_instance_key_suffix", []any{event, "e", template, "", "live", "a"}},
		{"p_instance_key_suffix", []any{event, "e", template, long, "live", "a"}},
		{"p_emit_mode", []any{event, "e", template, "s", nil, "a"}},
		{"p_emit_mode", []any{event, "e", template, "s", " ", "a"}},
		{"p_emit_mode", []any{event, "e", template, "s", "Live", "a"}},
		{"p_actor", []any{event, "e", template, "s", "live", nil}},
		{"p_actor", []any{event, "e", template, "s", "live", "\v"}},
		// The detail names the first wrong argument.
		{"p_event_type", []any{event, "", nil, "", "", ""}},
	} {
		got, err := ask(t.Context(), c.Pool, "SELECT fn_iu_auto_instantiate_from_event($1, $2, $3, $4, $5, $6)", try.args...)
		require.NoError(t, err, "%v", try.args)
		require.Equal(t, "invalid_input", got.Status, "%v", try.args)
		require.Contains(t, got.Detail, try.argument, "%v", try.args)
	}
	require.Equal(t, before, c.written(t))

	// A suffix may have 200 characters, however many bytes they take.
	c.must(t, "instantiated", call{event, template, strings.TrimSuffix(long, "ü"), "live", "a"})
}

// A gate is open only if lower(btrim(value)) is true.
func TestGatesOpenAtTrueAlone(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		template := c.Template(t, "kit", 1)
		opening := []string{"true", "TRUE", " True  "}
		for _, value := range append([]string{"t", "yes", "on", "1", "", "false", "true\n", "true true"}, opening...) {
			open := slices.Contains(opening, value)
			args := call{uuid.New(), template, "composer " + value, "dry_run", "a"}
			c.gates(t, value, "false")
			c.must(t, map[bool]string{true: "instantiated", false: "composer_disabled"}[open], args)
			args.suffix, args.mode = "live "+value, "live"
			c.gates(t, "true", value)
			c.must(t, map[bool]string{true: "instantiated", false: "live_gate_closed"}[open], args)
		}
		// A missing row is a closed gate.
		c.gates(t, "true", "true")
		c.Exec(t, "DELETE FROM dot_config WHERE key = 'iu_core.auto_instantiate_enabled'")
		c.must(t, "live_gate_closed", call{uuid.New(), template, "no row", "live", "a"})
		c.Exec(t, "DELETE FROM dot_config WHERE key = 'iu_core.composer_enabled'")
		c.must(t, "composer_disabled", call{uuid.New(), template, "no row", "dry_run", "a"})
	})
}

// A fault that an adopted core's composer reports is passed on; any other unexpected answer is an error and is undone.
func TestAnswersOfTheComposer(t *testing.T) {
	t.Parallel()
	c := newCore(t, adoptedSQL, instantiateSQL)
	c.OpenGates(t)
	args := call{uuid.New(), c.Template(t, "kit", 3), "order-1", "live", "shop"}
	c.Exec(t, "UPDATE dot_config SET value = '2' WHERE key = 'iu_core.max_pieces'")
	require.Contains(t, c.must(t, "invalid_input", args).Detail, "too many pieces")

	before := c.written(t)
	c.Exec(t, "UPDATE dot_config SET value = '9' WHERE key = 'iu_core.max_pieces'")
	for _, function := range []string{
		`fn_iu_compose(p_collection_key text, p_title text, p_piece_ids uuid[], p_actor text, p_note text DEFAULT NULL)
		 RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"status": "postponed"}'::jsonb $$`,
		`fn_iu_collection_record_template_instance(p_template_collection_id uuid, p_instance_collection_id uuid, p_actor text,
		                                           p_note text DEFAULT NULL)
		 RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'`,
	} {
		tx := c.begin(t)
		_, err := tx.Exec(t.Context(), "CREATE OR REPLACE FUNCTION "+function)
		require.NoError(t, err)
		_, err = args.in(t.Context(), tx)
		require.ErrorContains(t, err, "IU001")
		require.NoError(t, tx.Rollback(t.Context()))
	}
	require.Equal(t, before, c.written(t))
	c.must(t, "instantiated", args)
}

func TestBothModesLeaveTheWholeInstance(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.gates(t, "true", "true")
		template := c.Template(t, "kit", 4)
		c.Exec(t, "UPDATE iu_piece_membership SET is_active = false WHERE collection_id = $1 AND position = 2", template)
		c.Exec(t, "UPDATE iu_piece_membership SET position = 9 WHERE collection_id = $1 AND position = 1", template)
		event := uuid.New()
		for _, mode := range []string{"live", "dry_run"} {
			got := c.must(t, "instantiated", call{event, template, mode, mode, "shop"})
			require.Equal(t, 3, got.PieceCount)
			require.Equal(t, []string{"kit/3", "kit/4", "kit/1"}, rows(t, c.DB, `
				SELECT p.piece_key FROM iu_piece_membership AS m JOIN iu_piece AS p ON p.id = m.piece_id
				WHERE m.is_active AND m.collection_id = '`+got.InstanceCollectionID.String()+`' ORDER BY m.position`))
			require.Equal(t, []string{"Template kit by shop, " + mode + " of order.placed as shop"}, rows(t, c.DB, `
				SELECT c.title || ' by ' || c.created_by || ', ' || l.emit_mode || ' of ' || l.event_type || ' as ' || l.triggered_by
				FROM iu_auto_instantiate_event_log AS l
				JOIN iu_piece_collection AS c ON c.id = l.instance_collection_id
				JOIN iu_collection_template_instance_lineage AS t USING (instance_collection_id, template_collection_id)
				WHERE c.collection_key = 'tpl-inst:auto:`+mode+`' AND l.event_id = '`+event.String()+`'
				  AND t.template_digest = fn_iu_collection_digest(t.template_collection_id)`))
		}
		c.consistent(t)

		// An instance of a template without a title has a title.
		c.Exec(t, "UPDATE iu_piece_collection SET title = ' ' WHERE id = $1", template)
		got := c.must(t, "instantiated", call{event, template, "untitled", "live", "shop"})
		require.Equal(t, []string{"kit"}, rows(t, c.DB, "SELECT title FROM iu_piece_collection WHERE id = '"+got.InstanceCollectionID.String()+"'"))
	})
}

func TestViewsShowTheLog(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.gates(t, "true", "true")
		template := c.Template(t, "kit", 2)
		for i, mode := range []string{"live", "live", "live", "dry_run"} {
			c.must(t, "instantiated", call{uuid.New(), template, string(rune('a' + i)), mode, "shop"})
		}
		c.Exec(t, `
			UPDATE iu_auto_instantiate_event_log AS l SET created_at = now() - age
			FROM iu_piece_collection AS c, (VALUES ('a', interval '2 days'), ('b', '2 hours')) AS v (suffix, age)
			WHERE c.id = l.instance_collection_id AND c.collection_key = 'tpl-inst:auto:' || v.suffix`)
		require.Equal(t, []string{"kit Template kit dry_run 1 1 1 true", "kit Template kit live 3 1 2 false"}, rows(t, c.DB, `
			SELECT concat_ws(' ', template_key, template_title, emit_mode, instances_total, instances_last_hour, instances_last_day,
			                 (first_at = last_at)::text)
			FROM v_iu_auto_instantiate_event_summary ORDER BY emit_mode`))
		require.Equal(t, []string{"true"}, rows(t, c.DB, "SELECT DISTINCT digest_match::text FROM v_iu_auto_instantiate_event_log"))

		c.Exec(t, `UPDATE iu_piece SET body = '"new"' WHERE piece_key = 'kit/1'`)
		require.Equal(t, []string{"true"}, rows(t, c.DB, "SELECT DISTINCT digest_match::text FROM v_iu_auto_instantiate_event_log"),
			"instances share the pieces of their template")
		c.Exec(t, "UPDATE iu_piece_membership SET is_active = false WHERE collection_id = $1 AND position = 1", template)
		require.Equal(t, []string{"4"}, rows(t, c.DB,
			"SELECT count(*)::text FROM v_iu_auto_instantiate_event_log WHERE NOT digest_match AND template_digest <> instance_digest"))
	})
}

func TestViewColumns(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	columns := func(view string) []string {
		return rows(t, c.DB, `SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
		                      WHERE attrelid = '`+view+`'::regclass ORDER BY attnum`)
	}
	require.Equal(t, []string{
		"instance_collection_id uuid", "instance_key text", "instance_title text", "template_collection_id uuid", "template_key text",
		"template_title text", "event_id uuid", "event_type text", "idempotency_key text", "emit_mode text", "triggered_by text",
		"created_at timestamp with time zone", "template_digest text", "instance_digest text", "digest_match boolean",
	}, columns("v_iu_auto_instantiate_event_log"))
	require.Equal(t, []string{
		"template_collection_id uuid", "template_key text", "template_title text", "emit_mode text", "instances_total bigint",
		"instances_last_hour bigint", "instances_last_day bigint", "first_at timestamp with time zone", "last_at timestamp with time zone",
	}, columns("v_iu_auto_instantiate_event_summary"))
}
