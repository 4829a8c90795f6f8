package iusql

// baselineTables are the tables of iu-core up to 032, with what our own statements in 033 and later read or write.
// What iu-core's own functions need is not checked.
var baselineTables = []tableShape{
	{
		name: "dot_config",
		columns: [][2]string{
			{"key", "text"}, {"value", "text"}, {"description", "text"}, {"updated_by", "text"},
			{"updated_at", "timestamp with time zone"},
		},
		keys:   []string{"key"},
		insert: []string{"key", "value"},
	},
	{
		name: "event_type_registry",
		columns: [][2]string{
			{"event_type", "text"}, {"event_stream", "text"}, {"delivery_lane", "text"}, {"active", "boolean"}, {"description", "text"},
		},
		keys:   []string{"event_type"},
		insert: []string{"event_type", "event_stream", "delivery_lane", "active", "description"},
	},
	{
		name:    "event_route",
		columns: [][2]string{{"event_type", "text"}},
	},
	{
		name:    "iu_piece",
		columns: [][2]string{{"id", "uuid"}, {"piece_key", "text"}, {"body", "jsonb"}},
	},
	{
		name:    "iu_piece_collection",
		columns: [][2]string{{"id", "uuid"}, {"collection_key", "text"}, {"title", "text"}},
		keys:    []string{"id", "collection_key"},
	},
	{
		name: "iu_piece_membership",
		columns: [][2]string{
			{"collection_id", "uuid"}, {"piece_id", "uuid"}, {"position", "integer"}, {"is_active", "boolean"},
		},
	},
	{
		name:    "iu_collection_template_registry",
		columns: [][2]string{{"collection_id", "uuid"}, {"is_template", "boolean"}},
		keys:    []string{"collection_id"},
	},
	{
		name:    "iu_collection_template_version",
		columns: [][2]string{{"collection_id", "uuid"}, {"version", "integer"}, {"digest", "text"}},
	},
	{
		name: "iu_collection_template_instance_lineage",
		columns: [][2]string{
			{"instance_collection_id", "uuid"}, {"template_collection_id", "uuid"}, {"template_version", "integer"},
			{"template_digest", "text"},
		},
		keys: []string{"instance_collection_id"},
	},
}

var baselineFunctions = []functionShape{
	{name: "fn_iu_composer_enabled", returns: "boolean"},
	{name: "fn_iu_collection_digest", types: "uuid", returns: "text"},
	{name: "fn_iu_compose", types: "text, text, uuid[], text, text", returns: "jsonb", defaults: 1},
	{name: "fn_iu_collection_mark_template", types: "uuid, text, boolean", returns: "jsonb", defaults: 1},
	{name: "fn_iu_collection_record_template_instance", types: "uuid, uuid, text, text", returns: "jsonb"},
}

// baselineDifferences returns what an existing iu-core lacks or has in another form.
func baselineDifferences(cat *catalog) []string {
	return append(differences(cat, baselineTables), differences(cat, baselineFunctions)...)
}

// baselineStrays returns the objects that have iu-core's names in a database without an iu-core.
func baselineStrays(cat *catalog) []string {
	var found []string
	for _, shape := range baselineTables {
		if cat.relations[shape.name] != nil {
			found = append(found, "public."+shape.name)
		}
	}
	for _, shape := range baselineFunctions {
		for _, have := range cat.functions[shape.name] {
			found = append(found, "public."+have.signature())
		}
	}
	return found
}
