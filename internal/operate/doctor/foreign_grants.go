package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

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
