package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/worker/listen"
	"github.com/iu-core/iuworker/worker/metrics"
)

const (
	pruneInterval = time.Minute
	pruneBatch    = 5000
)

// Pruner deletes emissions that are older than the retention, but none that a consumer has yet to see which was
// active within the expiry. Several may run: they take turns at the lock of the retention.
type Pruner struct {
	pool              *pgxpool.Pool
	retention, expiry time.Duration
	logger            *slog.Logger
	outage            *listen.Outage
	metrics           *metrics.Metrics
}

// Run prunes now and then until ctx ends; at once where the retention is forever.
func (p *Pruner) Run(ctx context.Context) error {
	if p.retention < 0 {
		return nil
	}
	for ctx.Err() == nil {
		p.prune(ctx)
		listen.Pause(ctx, pruneInterval)
	}
	return nil
}

func (p *Pruner) prune(ctx context.Context) {
	var total int
	for ctx.Err() == nil {
		var n int
		err := p.pool.QueryRow(ctx, "SELECT iu_outbox.prune_emissions($1, $2, $3)", p.retention, p.expiry, pruneBatch).Scan(&n)
		if err != nil {
			if ctx.Err() == nil {
				p.outage.Failed(ctx, fmt.Errorf("prune emissions: %w", err))
			}
			return
		}
		p.outage.Worked(ctx)
		total += n
		p.metrics.Pruned(n)
		if n < pruneBatch {
			break
		}
	}
	if total > 0 {
		p.logger.InfoContext(ctx, "Pruner: deleted emissions past their retention", slog.Int("emissions", total))
	}
}
