package iusql

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

const rowSecurityFile = functionsFolder + "row_security.sql"

// viewText returns the query of a view of grants, which file creates. The database has the views, too, but the
// program runs their text, because reading grants must not depend on grants.
func viewText(file, name string) string {
	_, query, found := strings.Cut(text(functionsFolder+file), "CREATE OR REPLACE VIEW iu_outbox."+name+" AS\n")
	query, _, ended := strings.Cut(query, "\n;\n")
	if !found || !ended {
		panic("iusql: " + file + " has no view " + name)
	}
	return query
}

var (
	intendedGrants = strings.ReplaceAll(viewText("intended_grant.sql", "intended_grant"),
		"iu_outbox.listed_grant", "("+viewText("grants.sql", "listed_grant")+") AS l")
	foreignGrants = "WITH intended_grant AS (" + intendedGrants + ")\nSELECT * FROM (" +
		strings.ReplaceAll(viewText("foreign_grant.sql", "foreign_grant"), "iu_outbox.intended_grant", "intended_grant") + ") AS f"
)

// closeSQL is the block of 036 that revokes what default privileges granted in our schemas to roles other than the owner.
var closeSQL = regexp.MustCompile(`(?s)DO \$close\$.*?\$close\$;\n`).FindString(text(sharedFile))

// sealed returns the text of a step that creates something in our schemas. When it commits, others have no privileges
// on that, and row security is off. Until then a table's owner can fill it, because row security is not forced.
func sealed(texts ...string) []string {
	whole := make([]string, 0, len(texts)+2)
	for _, sql := range texts {
		whole = append(whole, insertInto.ReplaceAllString(sql, "${1}ALTER TABLE $2 NO FORCE ROW LEVEL SECURITY;\n$0"))
	}
	if !strings.Contains(whole[len(whole)-1], closeSQL) {
		whole = append(whole, closeSQL)
	}
	return append(whole, text(rowSecurityFile))
}

// insertInto matches INSERT statements at the beginning of a line, with the name of the table.
var insertInto = regexp.MustCompile(`(?m)^([ \t]*)INSERT INTO\s+([a-z_."]+)`)

// MissingGrant is a privilege that a role should have but lacks.
type MissingGrant struct {
	Role      string // one of our roles, or "owner" or "owner of 033", as which SECURITY DEFINER functions run
	What      string // such as SELECT on TABLE iu_outbox.event
	Statement string // the GRANT to run
	Mine      bool   // the current login has the privilege anyway
	Effective bool   // the role has it by another grant
}

// MissingGrants returns the intended grants that the roles, or the current login, lack. A role that does not exist
// lacks nothing. It needs no privilege.
func MissingGrants(ctx context.Context, q Queryer) ([]MissingGrant, error) {
	return collect(ctx, q, "compare grants", pgx.RowToStructByPos[MissingGrant], `
		SELECT i.role, pg_catalog.format('%s%s on %s %s', i.privilege, ' (' || i.column_name || ')', i.kind, i.object),
		       i.statement, i.mine, i.effective
		FROM (`+intendedGrants+`) AS i
		WHERE i.role_oid IS NOT NULL AND NOT (i.effective AND i.mine)
		ORDER BY i.role, 2`)
}

// ForeignGrant is what a role other than the owner and ours may do with objects of the worker or of iu-core, or
// what one of our roles may do beyond its list.
type ForeignGrant struct {
	Grantee    string   `json:"grantee"` // PUBLIC for everybody
	Kind       string   `json:"kind"`    // such as TABLE
	Privileges []string `json:"privileges"`
	Objects    []string `json:"objects"`
	Adopted    bool     `json:"adopted"` // the objects belong to an adopted core, which grants as it likes
	Statement  string   `json:"statement"`
}

// ForeignGrants returns all foreign grants; similar ones of one grantee are one entry. It needs no privilege. A 033
// whose origin this login may not read counts as adopted.
func ForeignGrants(ctx context.Context, q Queryer) ([]ForeignGrant, error) {
	ours, err := instantiateCreated(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("look for foreign grants: %w", err)
	}
	return collect(ctx, q, "look for foreign grants", pgx.RowToStructByPos[ForeignGrant], `
		WITH f AS MATERIALIZED (`+foreignGrants+`
		), object AS (
			SELECT COALESCE(f.grantee, 'PUBLIC') AS grantee, f.grantee_oid, f.kind, f.object, f.option,
			       CASE f.part WHEN '033' THEN NOT $1 WHEN 'core' THEN NOT `+coreCreated+` ELSE false END AS adopted,
			       pg_catalog.array_agg(f.privilege || COALESCE(' (' || pg_catalog.quote_ident(f.column_name) || ')', '')
			                            ORDER BY f.privilege, f.column_name) AS privileges
			FROM f
			GROUP BY f.grantee, f.grantee_oid, f.kind, f.object, f.option, f.part
		)
		SELECT o.grantee, o.kind, o.privileges, pg_catalog.array_agg(o.object ORDER BY o.object), o.adopted,
		       pg_catalog.format('REVOKE %s%s ON %s %s FROM %s CASCADE', CASE WHEN o.option THEN 'GRANT OPTION FOR ' END,
		           pg_catalog.array_to_string(o.privileges, ', '), o.kind, pg_catalog.string_agg(o.object, ', ' ORDER BY o.object),
		           CASE o.grantee_oid WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(o.grantee) END)
		FROM object AS o
		GROUP BY o.grantee, o.grantee_oid, o.kind, o.privileges, o.adopted, o.option
		ORDER BY o.adopted, o.grantee, o.kind, 4`, ours)
}

// instantiateCreated reports whether the database's 033 is known to be ours.
func instantiateCreated(ctx context.Context, q Queryer) (ours bool, err error) {
	var readable bool
	err = q.QueryRow(ctx, `
		SELECT COALESCE((
			SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
			FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname = 'iu_migration' AND c.relname = 'origin'), false)`).Scan(&readable)
	if err != nil || !readable {
		return false, err
	}
	err = q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM iu_migration.origin AS o WHERE o.object = $1 AND o.origin = $2)`, originInstantiate, created).Scan(&ours)
	return ours, err
}

// unsealedQuery selects whether Up has grants to repair: one of our roles lacks one (it was revoked, or the role
// was created later), or default privileges granted one in our schemas (as they do in a restore).
var unsealedQuery = `
	SELECT EXISTS (SELECT FROM (` + intendedGrants + `) AS i
	               WHERE i.role_oid IS NOT NULL AND NOT i.effective AND (i.grantable OR i.role NOT LIKE 'owner%'))
	    OR EXISTS (SELECT FROM (` + foreignGrants + `) AS f WHERE f.part = 'worker' AND f.by_default)`
