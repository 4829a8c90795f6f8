package status

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// HeldCount is how many jobs a fault of the installation holds back.
type HeldCount struct {
	Reason string `json:"reason"`
	operate.Count
}

// ReadHeld counts the jobs that faults of the installation hold back, by reason.
func ReadHeld(ctx context.Context, tx pgx.Tx) ([]HeldCount, error) {
	return operate.Collect(ctx, tx, func(row pgx.CollectableRow) (held HeldCount, err error) {
		err = row.Scan(&held.Reason, &held.Count)
		return held, err
	}, `
		SELECT h.reason, pg_catalog.count(*)
		FROM (SELECT COALESCE(j.reason, '') AS reason FROM iu_outbox.job AS j WHERE j.held LIMIT $1) AS h
		GROUP BY h.reason
		ORDER BY pg_catalog.count(*) DESC, h.reason
		LIMIT 10`, operate.CountLimit+1)
}
