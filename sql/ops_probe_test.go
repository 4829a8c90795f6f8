package iusql_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/sql/iutest"
)

const selftestSQL = "ops/02_auto_instantiate_productization_proof.sql"

var probes = []string{
	"invalid_input", "live_gate_closed", "composer_disabled", "template_not_found", "template_not_marked", "template_empty",
	"instantiated", "idempotent_replay", "instance_key_conflict", "digest_match", "rollback_by_actor", "event_type_without_route",
}

// selftest runs the twelve probes and answers those that failed, with their notes.
func selftest(t testing.TB, db *iutest.DB) map[string]string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	failed := map[string]string{}
	got := results(t, conn, iusql.Selftest())
	require.Len(t, got, len(probes))
	for i, row := range got {
		column := strings.SplitN(row, "|", 3)
		require.Equal(t, probes[i], column[0])
		switch column[1] {
		case "PASS":
			require.Empty(t, column[2])
		default:
			require.Equal(t, "FAIL", column[1])
			require.NotEmpty(t, column[2])
			failed[column[0]] = column[2]
		}
	}
	return failed
}

// Whatever the gates are, all twelve pass, nothing is left behind, and nobody hears of it.
func TestProbesPassAndLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T) core{
		"created":  func(t *testing.T) core { return newCore(t, baselineSQL, instantiateSQL) },
		"adopted":  func(t *testing.T) core { return newCore(t, adoptedSQL, instantiateSQL) },
		"migrated": func(t *testing.T) core { return core{iutest.New(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := make(t)
			listener, err := pgx.Connect(t.Context(), c.URL)
			require.NoError(t, err)
			defer func() { _ = listener.Close(context.WithoutCancel(t.Context())) }()
			_, err = listener.Exec(t.Context(), `LISTEN iu_outbox_gate; LISTEN iu_outbox_emission; LISTEN "iu.template.instance_auto_composed"`)
			require.NoError(t, err)
			before, rowsBefore := dump(t, c.DB), data(t, c.DB)
			for _, gates := range [][2]string{{" True ", "true"}, {"true", "false"}, {"false", "true"}, {"false", "false"}} {
				c.gates(t, gates[0], gates[1])
				require.Empty(t, selftest(t, c.DB), "%v", gates)
			}
			require.ElementsMatch(t, strings.Split(rowsBefore, "\n"), strings.Split(data(t, c.DB), "\n"))
			require.Equal(t, before, dump(t, c.DB))
			c.Exec(t, "NOTIFY iu_outbox_emission, 'after all'")
			for {
				heard, err := listener.WaitForNotification(t.Context())
				require.NoError(t, err)
				if heard.Channel == "iu_outbox_gate" && name == "migrated" {
					continue // c.gates rang it
				}
				require.Equal(t, "after all", heard.Payload)
				break
			}
		})
	}
}

func TestProbesUnderPsql(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	require.Equal(t, strings.Join(probes, "|PASS|\n")+"|PASS|\n", c.psql(t, "-A", "-t", "-f", selftestSQL))
}

// edit writes a function anew with something in it replaced.
func (c core) edit(t testing.TB, function, old, new string) {
	t.Helper()
	var text string
	require.NoError(t, c.Pool.QueryRow(t.Context(),
		"SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1", function).Scan(&text))
	require.Contains(t, text, old)
	c.Exec(t, strings.ReplaceAll(text, old, new))
}

const (
	instantiate = "fn_iu_auto_instantiate_from_event"
	rollback    = "fn_iu_auto_instantiate_rollback_by_actor"
	digest      = "fn_iu_collection_digest"
	compose     = "fn_iu_compose"
)

// Each probe fails when what it checks is broken, and the others that do not stand on it pass.
func TestProbesFailOnWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, try := range []struct {
		name           string
		function       string // to be edited
		old, new       string
		statement      string // or a statement to be run
		probe, because string
		others         []string // that fail, too
	}{
		{name: "a suffix may be longer", function: instantiate, old: "> 200\n", new: "> 2000\n", probe: "invalid_input", because: "p_instance_key_suffix: "},
		{name: "a suffix must be shorter", function: instantiate, old: "> 200\n", new: "> 100\n", probe: "invalid_input", because: "200 characters"},
		{name: "an event type may be blank", function: instantiate, old: `(p_event_type ~ '\S') IS NOT TRUE`, new: "p_event_type IS NULL", probe: "invalid_input", because: "p_event_type: "},
		{name: "another argument is named", function: instantiate, old: "'p_event_id must", new: "'p_actor must", probe: "invalid_input", because: "p_event_id: "},
		{name: "any mode goes", function: instantiate, old: "WHEN (p_emit_mode IN", new: "WHEN false AND (p_emit_mode IN", probe: "invalid_input", because: "emit_mode"},

		{name: "the gate is ignored", function: instantiate, old: "AND NOT v_live_open", new: "AND false", probe: "live_gate_closed", because: "live: "},
		{name: "the gate is for dry runs, too", function: instantiate, old: "p_emit_mode = 'live' AND NOT", new: "NOT", probe: "live_gate_closed", because: "dry_run: "},
		{
			name: "the gate opens at what casts to true", function: instantiate, old: "pg_catalog.lower(pg_catalog.btrim(g.value)) = 'true'",
			new: "g.value::boolean", probe: "live_gate_closed", because: "live at yes: ",
		},
		{
			name: "the gate does not open at TRUE", function: instantiate, old: "pg_catalog.lower(pg_catalog.btrim(g.value)) = 'true'",
			new: "g.value = 'true'", probe: "live_gate_closed", because: "live at TRUE: ",
		},
		{
			name: "the composer comes first", function: instantiate, old: "WHEN p_emit_mode = 'live' AND NOT v_live_open",
			new:   `WHEN v_composer_open IS NOT TRUE THEN RETURN '{"status": "composer_disabled"}'; WHEN p_emit_mode = 'live' AND NOT v_live_open`,
			probe: "live_gate_closed", because: "live with both closed: ",
		},

		{name: "the composer is always on", function: "fn_iu_composer_enabled", old: "RETURN EXISTS", new: "RETURN true OR EXISTS", probe: "composer_disabled", because: "instantiated"},
		{name: "the composer is always off", function: "fn_iu_composer_enabled", old: "RETURN EXISTS", new: "RETURN false AND EXISTS", probe: "instantiated",
			because: "composes nothing", others: probes[:11]},

		{name: "not found is not marked", function: instantiate, old: "template_not_found", new: "template_not_marked", probe: "template_not_found", because: "live: "},
		{name: "any collection is a template", function: instantiate, old: "v_is_template IS NOT TRUE", new: "false", probe: "template_not_marked", because: "live: "},
		{name: "once a template, always one", function: instantiate, old: "r.is_template,", new: "r.collection_id IS NOT NULL,", probe: "template_not_marked", because: "taken away"},

		{name: "inactive pieces count", function: instantiate, old: "AND m.is_active;", new: ";", probe: "template_empty", because: "live: ", others: []string{"digest_match"}},
		{name: "empty is another status", function: instantiate, old: "template_empty", new: "instantiated", probe: "template_empty", because: "live: "},

		{name: "the mode is not kept", function: instantiate, old: "v_idempotency_key, p_emit_mode,", new: "v_idempotency_key, 'live',", probe: "instantiated", because: "dry_run: the log row"},
		{name: "the order is lost", function: instantiate, old: "ORDER BY m.position, m.piece_id", new: "ORDER BY m.position DESC", probe: "instantiated", because: "order", others: []string{"digest_match"}},
		{name: "the note is lost", function: instantiate, old: "v_piece_ids, p_actor, p_note", new: "v_piece_ids, p_actor, NULL", probe: "instantiated", because: "live: the collection"},
		{name: "the key is another", function: instantiate, old: "p_event_id::text || ':'", new: "p_event_id::text || '-'", probe: "instantiated", because: "idempotency_key"},
		{name: "the piece count is wrong", function: instantiate, old: "pg_catalog.cardinality(v_piece_ids)", new: "2", probe: "instantiated", because: `"piece_count": 2`},
		{name: "the lineage is not recorded", function: "fn_iu_collection_record_template_instance", old: "VALUES (p_instance_collection_id, p_template_collection_id,",
			new: "VALUES (p_instance_collection_id, p_instance_collection_id,", probe: "instantiated", because: "lineage",
			others: []string{"rollback_by_actor"}},
		{name: "the summary counts double", statement: `
			CREATE OR REPLACE VIEW v_iu_auto_instantiate_event_summary AS
			SELECT l.template_collection_id, ''::text AS template_key, ''::text AS template_title, l.emit_mode, 2::bigint AS instances_total,
			       2::bigint AS instances_last_hour, 2::bigint AS instances_last_day, l.created_at AS first_at, l.created_at AS last_at
			FROM iu_auto_instantiate_event_log AS l`, probe: "instantiated", because: "summary view"},

		{name: "replays are not known", function: instantiate, old: "IF FOUND THEN", new: "IF false THEN", probe: "idempotent_replay", because: "again: "},
		{name: "a replay names another instance", function: instantiate, old: "'idempotent_replay', 'instance_collection_id', v_instance_id",
			new: "'idempotent_replay', 'instance_collection_id', p_event_id", probe: "idempotent_replay", because: "another instance"},
		{name: "replays go by the mode", function: instantiate, old: "WHERE l.idempotency_key = v_idempotency_key",
			new: "WHERE l.idempotency_key = v_idempotency_key AND l.emit_mode = p_emit_mode", probe: "idempotent_replay", because: "again, live: "},

		{name: "a conflict is a replay", function: instantiate, old: "instance_key_conflict", new: "idempotent_replay", probe: "instance_key_conflict", because: "another event: "},
		{name: "a key is made free", function: compose, old: "ON CONFLICT (collection_key) DO NOTHING",
			new: "ON CONFLICT (collection_key) DO UPDATE SET collection_key = EXCLUDED.collection_key || gen_random_uuid()", probe: "instance_key_conflict", because: "duplicate key"},

		{name: "the digest is of inactive pieces, too", function: digest, old: "AND m.is_active", new: "", probe: "digest_match", because: "the digest of the instance"},
		{name: "the digest is always the same", function: digest, old: "WHERE m.collection_id = p_collection_id", new: "WHERE false", probe: "digest_match", because: "edited"},
		{name: "the lineage has no digest", function: "fn_iu_collection_record_template_instance", old: "public.fn_iu_collection_digest(p_template_collection_id)",
			new: "'none'", probe: "digest_match", because: "the lineage"},

		{name: "others are rolled back", function: rollback, old: "WHERE l.triggered_by = p_actor", new: "WHERE l.triggered_by LIKE p_actor || '%'", probe: "rollback_by_actor", because: "dry run: "},
		{name: "others are rolled back when it is real", function: rollback, old: "WHERE l.triggered_by = p_actor ORDER", new: "WHERE l.triggered_by LIKE p_actor || '%' ORDER", probe: "rollback_by_actor", because: "rollback: "},
		{name: "a dry run is real", function: rollback, old: "IF p_dry_run OR v_blocked_by IS NOT NULL THEN", new: "IF v_blocked_by IS NOT NULL THEN", probe: "rollback_by_actor", because: "the dry run deleted"},
		{name: "a rollback is dry", function: rollback, old: "IF p_dry_run OR v_blocked_by IS NOT NULL THEN", new: "IF true THEN", probe: "rollback_by_actor", because: "the other actor"},
		{name: "collections stay", function: rollback, old: "DELETE FROM public.iu_piece_collection AS t\n        USING pg_catalog.unnest(v_ids) AS i (id) WHERE t.id = i.id",
			new: "UPDATE public.iu_piece_collection AS t SET note = note\n        FROM pg_catalog.unnest(v_ids) AS i (id) WHERE t.id = i.id", probe: "rollback_by_actor", because: "still there"},
		{name: "use is not looked for", function: rollback, old: "INTO v_blocked_by USING v_ids;", new: "INTO v_blocked_by USING '{}'::uuid[];", probe: "rollback_by_actor", because: "foreign key"},
		{name: "use does not keep it from deleting", function: rollback, old: "IF p_dry_run OR v_blocked_by IS NOT NULL THEN", new: "IF p_dry_run THEN", probe: "rollback_by_actor", because: "foreign key"},

		{name: "a route", statement: "INSERT INTO event_route (event_type, target, active) VALUES ('iu.template.instance_auto_composed', 'mail', false)",
			probe: "event_type_without_route", because: "has a route"},
		{name: "no event type", statement: "DELETE FROM event_type_registry", probe: "event_type_without_route", because: "not registered"},
		{name: "another lane", statement: "UPDATE event_type_registry SET delivery_lane = 'instant'", probe: "event_type_without_route", because: "not registered"},
		{name: "no routes at all", statement: "DROP TABLE event_route", probe: "event_type_without_route", because: "does not exist"},

		{name: "no function", statement: "DROP FUNCTION " + instantiate, probe: "instantiated", because: "does not exist", others: probes[:11]},
		{name: "no log", statement: "DROP TABLE iu_auto_instantiate_event_log CASCADE", probe: "instantiated", because: "does not exist", others: probes[:11]},
	} {
		t.Run(try.name, func(t *testing.T) {
			t.Parallel()
			c := core{iutest.New(t)}
			if try.function != "" {
				c.edit(t, try.function, try.old, try.new)
			} else {
				c.Exec(t, try.statement)
			}
			failed := selftest(t, c.DB)
			require.Contains(t, failed[try.probe], try.because, "%v", failed)
			for probe, note := range failed {
				require.Contains(t, append([]string{try.probe}, try.others...), probe, note)
			}
			for _, probe := range try.others {
				require.Contains(t, failed, probe)
			}
			require.Equal(t, []string{"0 0"}, rows(t, c.DB, "SELECT (SELECT count(*) FROM iu_piece) || ' ' || (SELECT count(*) FROM iu_piece_collection)"))
		})
	}
}

// A row that somebody holds does not stop the run: the probe that needs it fails in time, and says why.
func TestProbesDoNotWaitForLong(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.gates(t, "true", "true") // only the probes that close a gate need its row
	tx := c.begin(t)
	_, err := tx.Exec(t.Context(), "SELECT FROM dot_config WHERE key = 'iu_core.composer_enabled' FOR UPDATE")
	require.NoError(t, err)
	failed := selftest(t, c.DB)
	require.Len(t, failed, 2)
	for _, probe := range []string{"live_gate_closed", "composer_disabled"} {
		require.Contains(t, failed[probe], "lock timeout")
	}
}
