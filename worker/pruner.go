package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pruneInterval = time.Minute // iu_outbox.attend takes what is more than twice as long for a gap
	pruneBatch    = 5000
)

// Pruner deletes emissions that are older than the retention, but none that a consumer has yet to see which was
// active within the expiry. Several may run: they take turns at the lock of the retention. Each also keeps the clock of
// attended time, by which consumers expire, and says which are about to.
type Pruner struct {
	tools

	retention, expiry time.Duration

	told     map[string]string // what was logged about a consumer
	attended time.Time         // when the clock was last kept
}

// Run prunes now and then until ctx ends.
func (p *Pruner) Run(ctx context.Context) error {
	p.told = make(map[string]string)
	return p.repeat(ctx, func() time.Duration { return pruneInterval }, p.round)
}

func (p *Pruner) round(ctx context.Context) error {
	if err := p.attend(ctx); err != nil {
		return err
	}
	if p.retention < 0 {
		return nil
	}
	if err := p.warn(ctx); err != nil { // before it costs anything
		return err
	}
	total, err := p.prune(ctx)
	if total > 0 {
		p.logger.InfoContext(ctx, "Pruner: deleted emissions past their retention", slog.Int("emissions", total))
		if err == nil {
			err = p.warn(ctx)
		}
	}
	return err
}

// attend keeps the clock.
func (p *Pruner) attend(ctx context.Context) error {
	retention, expiry := &p.retention, &p.expiry
	if p.retention < 0 {
		retention, expiry = nil, nil
	}
	if _, err := p.pool.Exec(ctx, "SELECT iu_outbox.attend($1, $2)", retention, expiry); err != nil {
		return fmt.Errorf("keep the clock of attended time: %w", err)
	}
	p.attended = time.Now()
	return nil
}

func (p *Pruner) prune(ctx context.Context) (total int, err error) {
	for ctx.Err() == nil {
		var n int
		err := p.pool.QueryRow(ctx, "SELECT iu_outbox.prune_emissions($1, $2, $3)", p.retention, p.expiry, pruneBatch).Scan(&n)
		if err != nil {
			return total, fmt.Errorf("prune emissions: %w", err)
		}
		total += n
		p.metrics.Pruned(n)
		if n < pruneBatch {
			break
		}
		if time.Since(p.attended) > pruneInterval { // a backlog of pruning is no absence
			if err := p.attend(ctx); err != nil {
				return total, err
			}
		}
	}
	return total, nil
}

// expiring is a consumer that will soon lose events, or has.
type expiring struct {
	Name    string
	Pruned  bool
	Seconds *float64 // of attended time until it loses events
}

// warn tells the log of consumers that are about to lose events, and of those that have: of each once.
func (p *Pruner) warn(ctx context.Context) error {
	rows, err := p.pool.Query(ctx, `
		SELECT c.name, c.state = 'pruned', c.expires_seconds FROM iu_outbox.consumer_status AS c
		WHERE c.state = 'pruned' OR c.expiring ORDER BY c.name LIMIT 1000`)
	if err != nil {
		return fmt.Errorf("look for consumers that expire: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[expiring])
	if err != nil {
		return fmt.Errorf("look for consumers that expire: %w", err)
	}
	told := make(map[string]string, len(found))
	for _, c := range found {
		what := "expires"
		if c.Pruned {
			what = "pruned"
		}
		told[c.Name] = what
		if p.told[c.Name] != what {
			p.tell(ctx, c)
		}
	}
	p.told = told
	return nil
}

func (p *Pruner) tell(ctx context.Context, c expiring) {
	if c.Pruned {
		p.logger.ErrorContext(ctx, "Pruner: deleted events that this consumer had not handled; to move it to the oldest retained event, run: "+
			"iuworker consumers reset NAME --to beginning",
			slog.String("consumer", c.Name))
		return
	}
	left := time.Duration(*c.Seconds * float64(time.Second)).Round(time.Minute)
	p.logger.WarnContext(ctx, "Pruner: no process works for this consumer, and what it has not handled will be deleted; start it, or delete it",
		slog.String("consumer", c.Name), slog.Duration("expires_in", left))
}
