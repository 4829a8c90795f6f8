package doctor

import (
	"context"
	"fmt"
	"strings"

	iusql "github.com/iu-core/iuworker/sql"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// foreignGrants names what others than the owner and our roles may do with our objects. An adopted iu-core's are its own
// affair, and only listed.
func (e *examination) foreignGrants(ctx context.Context) (Check, error) {
	var found []iusql.ForeignGrant
	var database string
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(ctx, "SELECT pg_catalog.current_database()").Scan(&database); err != nil {
			return err
		}
		found, err = iusql.ForeignGrants(ctx, tx)
		return err
	})
	if err != nil {
		return Check{}, err
	}
	return judgeForeignGrants(database, found), nil
}

func judgeForeignGrants(database string, found []iusql.ForeignGrant) Check {
	var details, grantees []string
	var next string
	adopted := 0
	for _, grant := range found {
		details = append(details, foreignGrant(grant))
		switch {
		case grant.Adopted:
			adopted++
		default:
			if len(grantees) == 0 || grantees[len(grantees)-1] != grant.Grantee {
				grantees = append(grantees, grant.Grantee)
			}
			if next == "" {
				next = psqlIn(database, grant.Statement)
			}
		}
	}
	check := fine("only the owner and iuworker's roles have privileges on what it created")
	switch {
	case len(grantees) > 0:
		check = warn("%s unexpected privileges on iuworker's objects: %s",
			operate.Plural(len(grantees), "role has", "roles have"), strings.Join(grantees, ", ")).
			so("revoke what was not granted deliberately; iuworker migrate up then grants iuworker's roles what they need", next)
	case adopted > 0:
		check.Says += "; grants on the adopted iu-core are not judged"
	}
	check.Details = details // each of them: the one that is left out may be the one that matters
	return check
}

func foreignGrant(grant iusql.ForeignGrant) string {
	where := ""
	if grant.Adopted {
		where = " of the adopted iu-core"
	}
	return fmt.Sprintf("%s has %s on %s %s%s: %s", grant.Grantee, strings.Join(grant.Privileges, ", "), grant.Kind,
		strings.Join(grant.Objects, ", "), where, grant.Statement)
}
