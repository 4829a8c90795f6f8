package iusql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iu-core/iuworker/internal/names"
)

const logTable = "iu_auto_instantiate_event_log"

var logShape = tableShape{
	name: logTable,
	columns: [][2]string{
		{"instance_collection_id", "uuid"}, {"template_collection_id", "uuid"}, {"event_id", "uuid"}, {"event_type", "text"},
		{"idempotency_key", "text"}, {"emit_mode", "text"}, {"triggered_by", "text"}, {"created_at", "timestamp with time zone"},
	},
	keys: []string{"instance_collection_id", "idempotency_key"},
	insert: []string{
		"instance_collection_id", "template_collection_id", "event_id", "event_type", "idempotency_key", "emit_mode", "triggered_by",
	},
}

var logForeignKeys = []foreignKey{
	{Column: "instance_collection_id", RefTable: "public.iu_collection_template_instance_lineage", RefColumn: "instance_collection_id", OnDelete: "c"},
	{Column: "template_collection_id", RefTable: "public.iu_piece_collection", RefColumn: "id", OnDelete: "a"},
}

var logIndexes = []string{"event_id", "triggered_by", "template_collection_id"}

// instantiateViews are the views of 033 with the columns that we promise.
var instantiateViews = []tableShape{
	{
		name: "v_iu_auto_instantiate_event_log", view: true,
		columns: append(slices.Clone(logShape.columns), [][2]string{
			{"template_digest", "text"}, {"instance_digest", "text"}, {"digest_match", "boolean"},
		}...),
	},
	{
		name: "v_iu_auto_instantiate_event_summary", view: true,
		columns: [][2]string{
			{"template_collection_id", "uuid"}, {"emit_mode", "text"}, {"instances_total", "bigint"}, {"instances_last_hour", "bigint"},
			{"instances_last_day", "bigint"}, {"first_at", "timestamp with time zone"}, {"last_at", "timestamp with time zone"},
		},
	},
}

var instantiateFunctions = []functionShape{
	{name: "fn_iu_auto_instantiate_from_event", types: "uuid, text, uuid, text, text, text, text", returns: "jsonb", defaults: 1},
	{name: "fn_iu_auto_instantiate_rollback_by_actor", types: "text, boolean", returns: "jsonb", defaults: 1},
}

// instantiateArguments are the arguments of 033's functions, by whose names callers may pass them.
var instantiateArguments = map[string]string{
	"fn_iu_auto_instantiate_from_event": "p_event_id uuid, p_event_type text, p_template_collection_id uuid, " +
		"p_instance_key_suffix text, p_emit_mode text, p_actor text, p_note text",
	"fn_iu_auto_instantiate_rollback_by_actor": "p_actor text, p_dry_run boolean",
}

const instantiateSearchPath = "pg_catalog, public, pg_temp"

// instantiateThere reports whether any part of 033 exists; then all of it must.
func instantiateThere(cat *catalog) bool {
	for _, name := range []string{logTable, instantiateViews[0].name, instantiateViews[1].name} {
		if cat.relations[name] != nil {
			return true
		}
	}
	return len(cat.functions[instantiateFunctions[0].name])+len(cat.functions[instantiateFunctions[1].name]) > 0
}

// instantiateDifferences returns what an existing 033 lacks or has in another form.
func instantiateDifferences(cat *catalog, rows instantiateRows) []string {
	found := append(logDifferences(cat), differences(cat, instantiateViews)...)
	for _, shape := range instantiateFunctions {
		found = append(found, shape.differences(cat)...)
		if have := shape.find(cat); have != nil {
			found = append(found, callableDifferences(have)...)
		}
	}
	if !rows.Config {
		found = append(found, "row iu_core.auto_instantiate_enabled of public.dot_config is missing")
	}
	switch {
	case rows.Stream == nil:
		found = append(found, "row "+names.EventType+" of public.event_type_registry is missing")
	case *rows.Stream != "update delayed":
		found = append(found, fmt.Sprintf(
			"row %s of public.event_type_registry has stream and lane %s, not update delayed", names.EventType, *rows.Stream))
	}
	return found
}

// instantiateRows are the rows that 033 adds to tables of iu-core.
type instantiateRows struct {
	Config bool
	Stream *string // stream and lane, nil if the row is missing
}

const instantiateRowsQuery = `
	SELECT EXISTS (SELECT FROM public.dot_config AS c WHERE c.key = 'iu_core.auto_instantiate_enabled'),
	       (SELECT pg_catalog.concat_ws(' ', COALESCE(r.event_stream, 'NULL'), COALESCE(r.delivery_lane, 'NULL'))
	        FROM public.event_type_registry AS r WHERE r.event_type = '` + names.EventType + `')`

func logDifferences(cat *catalog) []string {
	found := logShape.differences(cat)
	rel := cat.relations[logTable]
	if rel == nil {
		return found
	}
	for _, want := range logShape.columns {
		switch have := rel.columns[want[0]]; {
		case have == nil:
		case !have.NotNull:
			found = append(found, fmt.Sprintf("column public.%s.%s may be NULL", logTable, want[0]))
		case have.Unchecked:
			found = append(found, fmt.Sprintf("column public.%s.%s may be NULL in old rows: its NOT NULL is NOT VALID", logTable, want[0]))
		}
	}
	for _, want := range logForeignKeys {
		if rel.columns[want.Column] == nil {
			continue
		}
		same := slices.DeleteFunc(slices.Clone(rel.foreign), func(have foreignKey) bool { return !want.sameAs(have) })
		holds := func(have foreignKey) bool { return have.Holds }
		switch {
		case slices.ContainsFunc(same, holds):
		case len(same) > 0:
			found = append(found, fmt.Sprintf("the foreign key of column public.%s.%s is NOT VALID or NOT ENFORCED", logTable, want.Column))
		default:
			found = append(found, fmt.Sprintf("column public.%s.%s does not refer to %s (%s)%s",
				logTable, want.Column, want.RefTable, want.RefColumn, map[string]string{"c": " ON DELETE CASCADE"}[want.OnDelete]))
		}
	}
	for _, name := range logIndexes {
		if rel.columns[name] != nil && !slices.Contains(rel.indexed, name) {
			found = append(found, fmt.Sprintf("column public.%s.%s has no index", logTable, name))
		}
	}
	if rel.columns["emit_mode"] != nil && !slices.ContainsFunc(rel.checks, checksEmitMode) {
		found = append(found, fmt.Sprintf("column public.%s.emit_mode has no CHECK for dry_run and live", logTable))
	}
	return found
}

// sameAs compares what matters: any action but a cascade keeps a template from being deleted under its instances.
func (want foreignKey) sameAs(have foreignKey) bool {
	return have.Column == want.Column && have.RefTable == want.RefTable && have.RefColumn == want.RefColumn &&
		(have.OnDelete == want.OnDelete || want.OnDelete == "a" && have.OnDelete == "r")
}

func checksEmitMode(c check) bool {
	return slices.Equal(c.Columns, []string{"emit_mode"}) &&
		strings.Contains(c.Definition, "'dry_run'") && strings.Contains(c.Definition, "'live'")
}

// callableDifferences returns how a function of 033 differs in its arguments or in what it runs as.
func callableDifferences(have *function) []string {
	var found []string
	if want := instantiateArguments[have.Name]; have.Arguments != want {
		found = append(found, fmt.Sprintf("function public.%s has the arguments (%s), not (%s)", have.signature(), have.Arguments, want))
	}
	if have.Name != instantiateFunctions[0].name {
		return found
	}
	if !have.Definer {
		found = append(found, fmt.Sprintf("function public.%s is not SECURITY DEFINER", have.signature()))
	}
	if have.SearchPath != instantiateSearchPath {
		found = append(found, fmt.Sprintf("function public.%s has the search_path %q, not %q", have.signature(), have.SearchPath, instantiateSearchPath))
	}
	if have.Public {
		found = append(found, fmt.Sprintf("function public.%s may be executed by PUBLIC", have.signature()))
	}
	return found
}
