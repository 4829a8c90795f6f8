package iusql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
)

// A need is a privilege, in words and as an SQL condition.
type need struct{ what, condition string }

// needs collects the privileges that the migrating role needs.
type needs struct{ list []need }

func (n *needs) add(what, condition string) {
	if next := (need{what, condition}); !slices.Contains(n.list, next) {
		n.list = append(n.list, next)
	}
}

// table adds privileges on a table of public. A table that does not exist is not reported here.
func (n *needs) table(name string, privileges ...string) {
	for _, privilege := range privileges {
		n.add(privilege+" on public."+name, may(name, privilege))
	}
}

func (n *needs) function(shape functionShape, privilege string) {
	n.add(privilege+" on function public."+shape.signature(), fmt.Sprintf(`pg_catalog.has_function_privilege((
		SELECT p.oid FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
		WHERE n.nspname = 'public' AND p.proname = '%s' AND pg_catalog.oidvectortypes(p.proargtypes) = '%s'), '%s')`,
		shape.name, shape.types, privilege))
}

func (n *needs) schema(name, privilege string) {
	n.add(privilege+" on schema "+name, fmt.Sprintf(`pg_catalog.has_schema_privilege((
		SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = '%s'), '%s')`, name, privilege))
}

// owner requires the role to own everything in one of our schemas, because functions are replaced and triggers created.
func (n *needs) owner(schema string) {
	n.add("ownership of schema "+schema+" and what is in it", fmt.Sprintf(`NOT EXISTS (
		SELECT FROM pg_catalog.pg_namespace AS n
		LEFT JOIN LATERAL (
		    SELECT c.relowner AS owner FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid
		    UNION SELECT p.proowner FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid) AS o ON true
		WHERE n.nspname = '%s' AND NOT (pg_catalog.pg_has_role(n.nspowner, 'USAGE')
		    AND pg_catalog.pg_has_role(COALESCE(o.owner, n.nspowner), 'USAGE')))`, schema))
}

// may returns the condition that the role has a privilege on a table of public. It is NULL if there is no such table.
func may(table, privilege string) string {
	return fmt.Sprintf(`pg_catalog.has_table_privilege((
		SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relname = '%s'), '%s')`, table, privilege)
}

// missingPrivileges returns the privileges that the role lacks for what Up has to do.
func missingPrivileges(ctx context.Context, tx pgx.Tx, st *state, cat *catalog, found *findings) ([]string, error) {
	n := &needs{}
	n.schemas(st)
	if !st.has(versionInstantiate) && !found.instantiate {
		n.schema("public", "CREATE")
	}
	if found.core {
		n.core(st, cat, found)
	}
	var conditions []string
	for i, need := range n.list {
		conditions = append(conditions, fmt.Sprintf("(%d, '%s', %s)", i, strings.ReplaceAll(need.what, "'", "''"), need.condition))
	}
	missing, err := collect(ctx, tx, "check privileges", pgx.RowTo[string],
		`SELECT m.what FROM (VALUES `+strings.Join(conditions, ",\n")+`) AS m (n, what, given) WHERE m.given IS FALSE ORDER BY m.n`)
	if err != nil {
		return nil, err
	}
	grants, err := ungrantable(ctx, tx)
	return append(missing, grants...), err
}

func (n *needs) schemas(st *state) {
	n.schema("public", "USAGE")
	if !st.schemas["iu_migration"] || !st.schemas["iu_outbox"] || !st.schemas[names.RiverSchema] {
		n.add(fmt.Sprintf("CREATE on database %s", st.database), "pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')")
	}
	for _, language := range []string{"plpgsql", "sql"} {
		n.add("USAGE on language "+language, fmt.Sprintf("pg_catalog.has_language_privilege('%s', 'USAGE')", language))
	}
	for _, name := range ourSchemas {
		if st.schemas[name] {
			n.owner(name)
		}
	}
}

// core adds what an existing iu-core requires: the privileges that the functions of 033 and iu_outbox need, which
// run as their owner, and those to create the triggers.
func (n *needs) core(st *state, cat *catalog, found *findings) {
	n.table("dot_config", "SELECT", "INSERT", "UPDATE", "TRIGGER")
	n.table("event_type_registry", "SELECT")
	n.table("iu_piece_collection", "SELECT")
	n.table("iu_piece_membership", "SELECT")
	n.table("iu_collection_template_registry", "SELECT")
	if found.instantiate {
		n.table(logTable, "SELECT", "TRIGGER")
	} else if !st.has(versionInstantiate) {
		n.newInstantiate(cat)
	}
}

// newInstantiate adds the privileges to create 033 on an iu-core, and those that its functions need.
func (n *needs) newInstantiate(cat *catalog) {
	n.table("event_type_registry", "INSERT")
	n.table("iu_piece_collection", "REFERENCES", "UPDATE", "DELETE")
	n.table("iu_piece_membership", "UPDATE", "DELETE")
	n.table("iu_collection_template_version", "SELECT")
	n.table("iu_collection_template_instance_lineage", "REFERENCES", "SELECT", "UPDATE", "DELETE")
	for _, shape := range baselineFunctions {
		if shape.name != "fn_iu_collection_mark_template" {
			n.function(shape, "EXECUTE")
		}
		have := shape.find(cat)
		if have == nil || have.Definer {
			continue
		}
		switch shape.name { // a function that runs as its caller inserts as 033's owner
		case "fn_iu_compose":
			n.table("iu_piece_collection", "INSERT")
			n.table("iu_piece_membership", "INSERT")
		case "fn_iu_collection_record_template_instance":
			n.table("iu_collection_template_instance_lineage", "INSERT")
		}
	}
}

// ungrantable returns privileges on others' objects in public that have to be granted but cannot be: the role may not grant
// them, and the grantee does not have them by another grant. A role that does not exist and cannot be created gets nothing.
func ungrantable(ctx context.Context, tx pgx.Tx) ([]string, error) {
	return collect(ctx, tx, "check privileges", pgx.RowTo[string], `
		SELECT pg_catalog.format('%s%s WITH GRANT OPTION on %s%s', i.privilege, ' (' || i.column_name || ')',
		                         CASE WHEN i.kind <> 'TABLE' THEN pg_catalog.lower(i.kind) || ' ' END, i.object)
		FROM (`+intendedGrants+`) AS i
		WHERE i.role NOT LIKE 'owner%' AND NOT i.effective AND NOT i.grantable
		  AND (i.object LIKE 'public.%' OR i.kind = 'SCHEMA' AND i.object = 'public')
		  AND (i.role_oid IS NOT NULL
		       OR (SELECT r.rolsuper OR r.rolcreaterole FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER))
		GROUP BY 1
		ORDER BY 1`)
}
