package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
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
	LEFT JOIN pg_catalog.pg_roles AS g ON g.rolname IN ` + names.RolesSQL + `
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
	return operate.Collect(ctx, tx, pgx.RowToStructByPos[standing], fmt.Sprintf(standingSQL, membership, condition))
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

// logins names those that were given a role of ours and do not get its privileges.
func (e *examination) logins(ctx context.Context) (Check, error) {
	var all []standing
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		all, err = standings(ctx, tx, "r.rolcanlogin AND NOT r.rolsuper")
		return err
	})
	if err != nil {
		return Check{}, err
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
		return fine("%s of iuworker's roles, with inherited privileges", operate.Plural(members, "login is a member", "logins are members")), nil
	}
	check := warn("%s not get the privileges of a role that it was granted", operate.Plural(len(details), "login does", "logins do")).
		so("let it inherit them, unless a person uses it who runs SET ROLE", next)
	check.Details = details
	return check, nil
}
