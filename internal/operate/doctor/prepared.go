package doctor

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
)

// prepared looks for transactions that were prepared and forgotten: they hold their locks, and what vacuum may remove,
// over every restart.
func (e *examination) prepared(ctx context.Context) (Check, error) {
	type transaction struct {
		GID, Owner string
		Seconds    float64
	}
	old, err := readAll[transaction](ctx, e, `
		SELECT p.gid, p.owner::text, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - p.prepared)::double precision
		FROM pg_catalog.pg_prepared_xacts AS p
		WHERE p.database = pg_catalog.current_database() AND p.prepared < pg_catalog.clock_timestamp() - $1::interval
		ORDER BY p.prepared
		LIMIT 10`, e.cfg.LongTransaction)
	if err != nil || len(old) == 0 {
		return fine("no prepared transaction is open"), err
	}
	var details []string
	for _, t := range old {
		details = append(details, fmt.Sprintf("%s of %s, for %s", t.GID, t.Owner, operate.Lasted(t.Seconds)))
	}
	says := operate.Plural(len(old), "prepared transaction is", "prepared transactions are") +
		" left: vacuum cannot remove what they may see, and their locks are held"
	found := warn("%s", says)
	if old[0].Seconds > 2*e.cfg.LongTransaction.Seconds() {
		found = failed("%s", says)
	}
	return found.with(details).so("ask its transaction manager; if that does not know it, roll it back",
		psql("ROLLBACK PREPARED "+literal(old[0].GID))), nil
}
