package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	iusql "github.com/iu-core/iuworker/sql"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// privileges reports what this login may do: work, operate, both, or neither; and which intended grants are missing.
func (e *examination) privileges(ctx context.Context) (Check, error) {
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
		return Check{}, err
	}
	return judgePrivileges(found[0], missing), nil
}

func judgePrivileges(login standing, missing []iusql.MissingGrant) Check {
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
		check := failed("%s missing for %s", operate.Plural(len(details), "privilege is", "privileges are"), strings.Join(lacking, ", ")).
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
