package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	iusql "github.com/iu-core/iuworker/sql"
)

// standing is what a login is in this database.
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
		COALESCE(pg_catalog.array_agg(g.rolname::text ORDER BY g.rolname) FILTER (WHERE pg_catalog.pg_has_role(r.oid, g.oid, %s)
			AND NOT pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')), '{}')
	FROM pg_catalog.pg_roles AS r
	LEFT JOIN pg_catalog.pg_roles AS g ON g.rolname IN ('iu_app', 'iu_worker', 'iu_operator', 'iu_subscriber')
	WHERE %s
	GROUP BY r.oid, r.rolname, r.rolinherit
	ORDER BY r.rolname`

// standings reads them. From 16 on a role that may administer another is its member without more: who may SET ROLE to it
// was meant to have it.
func standings(ctx context.Context, tx pgx.Tx, condition string) ([]standing, error) {
	var version int
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.current_setting('server_version_num')::integer").Scan(&version); err != nil {
		return nil, err
	}
	membership := "'MEMBER'"
	if version >= memberships {
		membership = "'SET'"
	}
	return collect(ctx, tx, pgx.RowToStructByPos[standing], fmt.Sprintf(standingSQL, membership, condition))
}

// memberships is the version in which whether a member inherits became a matter of each membership.
const memberships = 160000

// grant returns the statements that give the login the privileges of a role, whatever memberships it has now. Before 16 a
// login inherits all that it is a member of, or nothing; since then each membership says it, and the login's attribute is
// only what new ones begin with.
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

// psqlIn is psql for a database by its name: another one would be changed in vain.
func psqlIn(database, statement string) string {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	return "psql -d " + quote(database) + " -c " + quote(statement)
}

// privileges reports what this login may do: work, operate, both, or neither; and which intended grants are missing.
func (e *examination) privileges(ctx context.Context) (DoctorCheck, error) {
	var found []standing
	var missing []iusql.MissingGrant
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		if found, err = standings(ctx, tx, "r.rolname = CURRENT_USER"); err != nil {
			return err
		}
		missing, err = iusql.MissingGrants(ctx, tx)
		return err
	})
	if err != nil || len(found) == 0 {
		return DoctorCheck{}, err
	}
	return judgePrivileges(found[0], missing), nil
}

func judgePrivileges(login standing, missing []iusql.MissingGrant) DoctorCheck {
	var details, lacking []string
	lacks := map[string]int{} // by this login
	next := migrateUp
	for _, grant := range missing {
		if !grant.Mine {
			lacks[grant.Role]++
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
		check := failed("%s missing for %s", counts(len(details), "privilege is", "privileges are"), strings.Join(lacking, ", ")).
			so("grant them again as the owner of the schema; privileges on an adopted iu-core as its owner", next)
		check.Details = details // each of them
		return check
	}
	works, operates := lacks["iu_worker"] == 0, lacks["iu_operator"] == 0
	if role := firstOf(login.Member, "iu_worker", "iu_operator"); role != "" && !works && !operates {
		return failed("user %s is a member of %s and does not inherit its privileges", login.Login, role).
			so("have an administrator let it inherit them: iuworker never runs SET ROLE", psqlIn(login.Database, login.grant(role)))
	}
	switch {
	case works && operates:
		return fine("user %s can run workers and operate", login.Login)
	case works:
		return fine("user %s can run workers (iu_worker), but not operate", login.Login)
	case operates:
		return fine("user %s can operate (iu_operator), but not run workers: they need a login of their own", login.Login)
	}
	return failed("user %s can neither run workers nor operate in database %s", login.Login, login.Database).
		so("use a login with the role iu_worker or iu_operator, or have an administrator grant one", psqlIn(login.Database, login.grant("iu_operator")))
}

// firstOf returns the first of these names that is in a list, "" if none is.
func firstOf(list []string, names ...string) string {
	for _, name := range names {
		if slices.Contains(list, name) {
			return name
		}
	}
	return ""
}

// logins names those that were given a role of ours and do not get its privileges.
func (e *examination) logins(ctx context.Context) (DoctorCheck, error) {
	var all []standing
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		all, err = standings(ctx, tx, "r.rolcanlogin AND NOT r.rolsuper")
		return err
	})
	if err != nil {
		return DoctorCheck{}, err
	}
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
			if next == "" {
				next = psqlIn(login.Database, statement)
			}
		}
	}
	if len(details) == 0 {
		return fine("%s of iuworker's roles, with inherited privileges", counts(members, "login is a member", "logins are members")), nil
	}
	check := warn("%s not get the privileges of a role that it was granted", counts(len(details), "login does", "logins do")).
		so("let it inherit them, unless a person uses it who runs SET ROLE", next)
	check.Details = details
	return check, nil
}
