package iusql_test

// A breakage is a change of iu-core, and the probe that has to notice it.
type breakage struct {
	name     string
	change   change
	probe    string
	because  string   // a text in the probe's note
	together []string // the probes that depend on what was broken, and fail as well
}

// A change is a statement, or an edit of a function's text.
type change struct{ statement, function, old, new string }

func sql(statement string) change { return change{statement: statement} }

func in(function, old, text string) change { return change{function: function, old: old, new: text} }

const (
	instantiate = "fn_iu_auto_instantiate_from_event"
	rollback    = "fn_iu_auto_instantiate_rollback_by_actor"
	digest      = "fn_iu_collection_digest"
	compose     = "fn_iu_compose"
	record      = "fn_iu_collection_record_template_instance"
	composerOn  = "fn_iu_composer_enabled"

	liveGate  = "pg_catalog.lower(pg_catalog.btrim(g.value)) = 'true'"
	keepsRows = "IF p_dry_run OR v_blocked_by IS NOT NULL THEN"
)

var breakages = []breakage{
	{
		"a suffix may be longer", in(instantiate, "> 200\n", "> 2000\n"),
		"invalid_input", "p_instance_key_suffix: ", nil,
	},
	{
		"a suffix must be shorter", in(instantiate, "> 200\n", "> 100\n"),
		"invalid_input", "200 characters", nil,
	},
	{
		"an event type may be blank", in(instantiate, `(p_event_type ~ '[^[:space:]]') IS NOT TRUE`, "p_event_type IS NULL"),
		"invalid_input", "p_event_type: ", nil,
	},
	{
		"another argument is named", in(instantiate, "'p_event_id must", "'p_actor must"),
		"invalid_input", "p_event_id: ", nil,
	},
	{
		"any mode goes", in(instantiate, "WHEN (p_emit_mode IN", "WHEN false AND (p_emit_mode IN"),
		"invalid_input", "emit_mode", nil,
	},

	{
		"the gate is ignored", in(instantiate, "AND NOT v_live_open", "AND false"),
		"live_gate_closed", "live: ", nil,
	},
	{
		"the gate is for dry runs, too", in(instantiate, "p_emit_mode = 'live' AND NOT", "NOT"),
		"live_gate_closed", "dry_run: ", nil,
	},
	{
		"the gate opens at what casts to true", in(instantiate, liveGate, "g.value::boolean"),
		"live_gate_closed", "live at yes: ", nil,
	},
	{
		"the gate does not open at TRUE", in(instantiate, liveGate, "g.value = 'true'"),
		"live_gate_closed", "live at TRUE: ", nil,
	},
	{
		"the composer comes first", in(instantiate, "WHEN p_emit_mode = 'live' AND NOT v_live_open",
			`WHEN v_composer_open IS NOT TRUE THEN RETURN '{"status": "composer_disabled"}'; WHEN p_emit_mode = 'live' AND NOT v_live_open`),
		"live_gate_closed", "live with both closed: ", nil,
	},

	{
		"the composer is always on", in(composerOn, "RETURN EXISTS", "RETURN true OR EXISTS"),
		"composer_disabled", "instantiated", nil,
	},
	{
		"the composer is always off", in(composerOn, "RETURN EXISTS", "RETURN false AND EXISTS"),
		"instantiated", "composes nothing", probes[:11],
	},

	{
		"not found is not marked", in(instantiate, "template_not_found", "template_not_marked"),
		"template_not_found", "live: ", nil,
	},
	{
		"any collection is a template", in(instantiate, "v_is_template IS NOT TRUE", "false"),
		"template_not_marked", "live: ", nil,
	},
	{
		"once a template, always one", in(instantiate, "r.is_template,", "r.collection_id IS NOT NULL,"),
		"template_not_marked", "taken away", nil,
	},

	{
		"inactive pieces count", in(instantiate, "AND m.is_active;", ";"),
		"template_empty", "live: ", []string{"digest_match"},
	},
	{
		"empty is another status", in(instantiate, "template_empty", "instantiated"),
		"template_empty", "live: ", nil,
	},

	{
		"the mode is not kept", in(instantiate, "v_idempotency_key, p_emit_mode,", "v_idempotency_key, 'live',"),
		"instantiated", "dry_run: the log row", nil,
	},
	{
		"the order is lost", in(instantiate, "ORDER BY m.position, m.piece_id", "ORDER BY m.position DESC"),
		"instantiated", "order", []string{"digest_match"},
	},
	{
		"the note is lost", in(instantiate, "v_piece_ids, p_actor, p_note", "v_piece_ids, p_actor, NULL"),
		"instantiated", "live: the collection", nil,
	},
	{
		"the key is another", in(instantiate, "p_event_id::text || ':'", "p_event_id::text || '-'"),
		"instantiated", "idempotency_key", nil,
	},
	{
		"the piece count is wrong", in(instantiate, "pg_catalog.cardinality(v_piece_ids)", "2"),
		"instantiated", `"piece_count": 2`, nil,
	},
	{
		"the lineage is not recorded", in(record, "VALUES (p_instance_collection_id, p_template_collection_id,",
			"VALUES (p_instance_collection_id, p_instance_collection_id,"),
		"instantiated", "lineage", []string{"rollback_by_actor"},
	},
	{
		"the summary counts double", sql(`
			CREATE OR REPLACE VIEW v_iu_auto_instantiate_event_summary AS
			SELECT l.template_collection_id, ''::text AS template_key, ''::text AS template_title, l.emit_mode, 2::bigint AS instances_total,
			       2::bigint AS instances_last_hour, 2::bigint AS instances_last_day, l.created_at AS first_at, l.created_at AS last_at
			FROM iu_auto_instantiate_event_log AS l`),
		"instantiated", "summary view", nil,
	},

	{
		"replays are not known", in(instantiate, "IF FOUND THEN", "IF false THEN"),
		"idempotent_replay", "again: ", nil,
	},
	{
		"a replay names another instance", in(instantiate, "'idempotent_replay', 'instance_collection_id', v_instance_id",
			"'idempotent_replay', 'instance_collection_id', p_event_id"),
		"idempotent_replay", "another instance", nil,
	},
	{
		"replays go by the mode", in(instantiate, "WHERE l.idempotency_key = v_idempotency_key",
			"WHERE l.idempotency_key = v_idempotency_key AND l.emit_mode = p_emit_mode"),
		"idempotent_replay", "again, live: ", nil,
	},

	{
		"a conflict is a replay", in(instantiate, "instance_key_conflict", "idempotent_replay"),
		"instance_key_conflict", "another event: ", nil,
	},
	{
		"a key is made free", in(compose, "ON CONFLICT (collection_key) DO NOTHING",
			"ON CONFLICT (collection_key) DO UPDATE SET collection_key = EXCLUDED.collection_key || gen_random_uuid()"),
		"instance_key_conflict", "duplicate key", nil,
	},

	{
		"the digest is of inactive pieces, too", in(digest, "AND m.is_active", ""),
		"digest_match", "the digest of the instance", nil,
	},
	{
		"the digest is always the same", in(digest, "WHERE m.collection_id = p_collection_id", "WHERE false"),
		"digest_match", "edited", nil,
	},
	{
		"the lineage has no digest", in(record, "public.fn_iu_collection_digest(p_template_collection_id)", "'none'"),
		"digest_match", "the lineage", nil,
	},

	{
		"others are rolled back", in(rollback, "WHERE l.triggered_by = p_actor", "WHERE l.triggered_by LIKE p_actor || '%'"),
		"rollback_by_actor", "dry run: ", nil,
	},
	{
		"others are rolled back when it is real", in(rollback, "WHERE l.triggered_by = p_actor ORDER", "WHERE l.triggered_by LIKE p_actor || '%' ORDER"),
		"rollback_by_actor", "rollback: ", nil,
	},
	{
		"a dry run is real", in(rollback, keepsRows, "IF v_blocked_by IS NOT NULL THEN"),
		"rollback_by_actor", "the dry run deleted", nil,
	},
	{
		"a rollback is dry", in(rollback, keepsRows, "IF true THEN"),
		"rollback_by_actor", "the other actor", nil,
	},
	{
		"collections stay", in(rollback, "DELETE FROM public.iu_piece_collection AS t\n        USING pg_catalog.unnest(v_ids) AS i (id) WHERE t.id = i.id",
			"UPDATE public.iu_piece_collection AS t SET note = note\n        FROM pg_catalog.unnest(v_ids) AS i (id) WHERE t.id = i.id"),
		"rollback_by_actor", "still there", nil,
	},
	{
		"use is not looked for", in(rollback, "INTO v_blocked_by USING v_ids;", "INTO v_blocked_by USING '{}'::uuid[];"),
		"rollback_by_actor", "foreign key", nil,
	},
	{
		"use does not keep it from deleting", in(rollback, keepsRows, "IF p_dry_run THEN"),
		"rollback_by_actor", "foreign key", nil,
	},

	{
		"a route", sql("INSERT INTO event_route (event_type, target, active) VALUES ('iu.template.instance_auto_composed', 'mail', false)"),
		"event_type_without_route", "has a route", nil,
	},
	{
		"no event type", sql("DELETE FROM event_type_registry"),
		"event_type_without_route", "not registered", nil,
	},
	{
		"another lane", sql("UPDATE event_type_registry SET delivery_lane = 'instant'"),
		"event_type_without_route", "not registered", nil,
	},
	{
		"no routes at all", sql("DROP TABLE event_route"),
		"event_type_without_route", "does not exist", nil,
	},

	{
		"no function", sql("DROP FUNCTION " + instantiate),
		"instantiated", "does not exist", probes[:11],
	},
	{
		"no log", sql("DROP TABLE iu_auto_instantiate_event_log CASCADE"),
		"instantiated", "does not exist", probes[:11],
	},
}
