package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

// privileges reports whether this login can run workers, operate, both or neither, and which intended grants are missing.
func (e *examination) privileges(ctx context.Context, tx pgx.Tx) (Check, error) {
	found, err := standings(ctx, tx, "r.rolname = CURRENT_USER")
	if err != nil || len(found) == 0 {
		return Check{}, err
	}
	missing, err := iusql.MissingGrants(ctx, tx)
	return judgePrivileges(found[0], missing), err
}

func judgePrivileges(login standing, missing []iusql.MissingGrant) Check {
	var details, lacking []string
	lacks := map[string]bool{} // this login, some privilege of a role
	next := migrateUp
	for _, grant := range missing {
		if !grant.Mine {
			lacks[grant.Role] = true
		}
		if grant.Effective {
			continue
		}
		details = append(details, fmt.Sprintf("%s lacks %s in database %s: %s", grant.Role, grant.What, login.Database, grant.Statement))
		if !slices.Contains(lacking, grant.Role) {
			lacking = append(lacking, grant.Role)
		}
		if strings.HasPrefix(grant.Role, "owner") {
			next = psqlIn(login.Database, grant.Statement) // up grants to its owner only what it may itself
		}
	}
	if len(details) > 0 {
		return failed("%s missing for %s", operate.Plural(len(details), "privilege is", "privileges are"), strings.Join(lacking, ", ")).
			so("grant them again as the owner of the schema; privileges on an adopted iu-core as its owner", next).withAll(details)
	}
	switch works, operates := !lacks["iu_worker"], !lacks["iu_operator"]; {
	case works && operates:
		return fine("user %s can run workers and operate", login.Login)
	case works:
		return fine("user %s can run workers (iu_worker), but not operate", login.Login)
	case operates:
		return fine("user %s can operate (iu_operator), but not run workers: they need a login of their own", login.Login)
	}
	for _, role := range []string{"iu_worker", "iu_operator"} {
		if slices.Contains(login.Member, role) {
			return failed("user %s is a member of %s and does not inherit its privileges", login.Login, role).
				so("have an administrator let it inherit them: iuworker never runs SET ROLE", psqlIn(login.Database, login.grant(role)))
		}
	}
	return failed("user %s can neither run workers nor operate in database %s", login.Login, login.Database).
		so("use a login with the role iu_worker or iu_operator, or have an administrator grant one", psqlIn(login.Database, login.grant("iu_operator")))
}

// standing is the roles of ours that a login has.
type standing struct {
	Login, Database string
	ServerVersion   int
	Inherits        bool     // the login's attribute
	Has             []string // our roles whose privileges it has
	Member          []string // our roles that it is a member of without having their privileges
}

const standingSQL = `
	SELECT r.rolname::text, pg_catalog.current_database()::text, pg_catalog.current_setting('server_version_num')::integer, r.rolinherit,
		COALESCE(pg_catalog.array_agg(g.rolname::text ORDER BY g.rolname) FILTER (WHERE pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')), '{}'),
		COALESCE(pg_catalog.array_agg(g.rolname::text ORDER BY g.rolname) FILTER (WHERE pg_catalog.pg_has_role(r.oid, g.oid,
				CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
			AND NOT pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')), '{}')
	FROM pg_catalog.pg_roles AS r
	LEFT JOIN pg_catalog.pg_roles AS g ON g.rolname IN ` + names.RolesSQL + `
	WHERE %s
	GROUP BY r.oid, r.rolname, r.rolinherit
	ORDER BY r.rolname`

// standings reads those of the logins that meet a condition. From PostgreSQL 16 on, a role that may administer another role is
// its member, too: only a login that may SET ROLE to it was meant to have its privileges.
func standings(ctx context.Context, tx pgx.Tx, condition string) ([]standing, error) {
	return structs[standing](ctx, tx, fmt.Sprintf(standingSQL, condition))
}

// memberships is the server version since which the membership, not the login, decides whether privileges are inherited.
const memberships = 160000

// grant returns the statements that give the login the privileges of a role, whatever memberships it has now.
func (s standing) grant(role string) string {
	login := pgx.Identifier{s.Login}.Sanitize()
	switch {
	case s.ServerVersion >= memberships && (!s.Inherits || slices.Contains(s.Member, role)):
		return fmt.Sprintf("GRANT %s TO %s WITH INHERIT TRUE", role, login)
	case s.Inherits:
		return fmt.Sprintf("GRANT %s TO %s", role, login)
	}
	return fmt.Sprintf("GRANT %s TO %s; ALTER ROLE %s INHERIT", role, login, login)
}

// logins finds logins that were granted one of our roles and do not get its privileges.
func (e *examination) logins(ctx context.Context, tx pgx.Tx) (Check, error) {
	all, err := standings(ctx, tx, `r.rolcanlogin AND NOT r.rolsuper
		AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')`)
	var details []string
	var next string
	members := 0
	for _, login := range all {
		if len(login.Has)+len(login.Member) > 0 {
			members++
		}
		for _, role := range login.Member {
			statement := login.grant(role)
			details = append(details, fmt.Sprintf("%s is a member of %s and does not inherit its privileges: %s", login.Login, role, statement))
			next = cmp.Or(next, psqlIn(login.Database, statement))
		}
	}
	if len(details) == 0 {
		return fine("%s of iuworker's roles, with inherited privileges", operate.Plural(members, "login is a member", "logins are members")), err
	}
	return warn("%s not get the privileges of a role that it was granted", operate.Plural(len(details), "login does", "logins do")).
		so("let it inherit them, unless a person uses it who runs SET ROLE", next).withAll(details), err
}

// foreignGrants names the privileges of other roles on iuworker's objects. Those on an adopted iu-core are listed, not judged.
func (e *examination) foreignGrants(ctx context.Context, tx pgx.Tx) (Check, error) {
	found, err := iusql.ForeignGrants(ctx, tx)
	var grantees []string
	var next string
	adopted := false
	for _, grant := range found {
		if grant.Adopted {
			adopted = true
			continue
		}
		grantees = append(grantees, grant.Grantee)
		next = cmp.Or(next, psqlIn(e.database, grant.Statement))
	}
	grantees = slices.Compact(grantees)
	check := fine("only the owner and iuworker's roles have privileges on what it created")
	switch {
	case len(grantees) > 0:
		check = warn("%s unexpected privileges on iuworker's objects: %s",
			operate.Plural(len(grantees), "role has", "roles have"), strings.Join(grantees, ", ")).
			so("revoke what was not granted deliberately; iuworker migrate up then grants iuworker's roles what they need", next)
	case adopted:
		check.Says += "; grants on the adopted iu-core are not judged"
	}
	return check.withAll(lines(found, foreignGrant)), err
}

func foreignGrant(grant iusql.ForeignGrant) string {
	where := ""
	if grant.Adopted {
		where = " of the adopted iu-core"
	}
	return fmt.Sprintf("%s has %s on %s %s%s: %s", grant.Grantee, strings.Join(grant.Privileges, ", "), grant.Kind,
		strings.Join(grant.Objects, ", "), where, grant.Statement)
}

// securedTable is a table with row security, and the roles that would not see all of its rows.
type securedTable struct {
	Name  string
	Ours  bool // in a schema of the worker
	Owner string
	Blind bool // the owner of our functions is subject to it
}

// rowSecurity finds tables that hide rows: to a worker, a hidden row is missing.
func (e *examination) rowSecurity(ctx context.Context, tx pgx.Tx) (Check, error) {
	tables, err := structs[securedTable](ctx, tx, `
		SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), n.nspname <> 'public', COALESCE(o.rolname::text, ''),
			COALESCE(NOT (o.rolsuper OR o.rolbypassrls)
			     AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(o.oid, c.relowner, 'USAGE')), false)
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_namespace AS w ON w.nspname = 'iu_outbox'
		LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = w.nspowner
		WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity
		  AND (n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration') OR n.nspname = 'public' AND c.relname = ANY ($1))
		ORDER BY 2 DESC, 4 DESC, 1`, iusql.CoreTables())
	if err != nil || len(tables) == 0 {
		return fine("row security is off: no rows are hidden"), err
	}
	names := lines(tables, func(t securedTable) string { return t.Name })
	switch {
	case tables[0].Ours:
		return failed("row security is on for %s: hidden rows look missing", operate.Plural(len(tables), "table", "tables")).
			with(names).so("turn it off as the owner; if an event trigger turns it on, exempt these schemas", migrateUp), nil
	case tables[0].Blind:
		bypass := "ALTER ROLE " + pgx.Identifier{tables[0].Owner}.Sanitize() + " BYPASSRLS"
		return failed("row security hides rows of iu-core from %s, the role that the functions run as", tables[0].Owner).with(names).
			so("exempt that role as a superuser, or turn row security off for these tables", psqlIn(e.database, bypass)), nil
	}
	return warn("row security is on for %s of iu-core: the functions see all rows, and verify and doctor need a login with BYPASSRLS",
		operate.Plural(len(tables), "table", "tables")).with(names), nil
}
