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

// pruner deletes emissions that are older than the retention. It keeps those that a consumer which was active within the expiry
// has not handled. Several processes may prune: a lock lets one through at a time. Each also keeps the clock of attended time,
// by which consumers expire, and logs which consumers are about to expire.
type pruner struct {
	tools

	retention, expiry time.Duration

	warned   map[string]string // what was logged last about each consumer
	attended time.Time         // when the clock was last kept
}

// run prunes each minute until ctx ends.
func (p *pruner) run(ctx context.Context) error {
	return p.repeat(ctx, pause(pruneInterval), p.round)
}

func (p *pruner) round(ctx context.Context) error {
	if err := p.attend(ctx); err != nil {
		return err
	}
	if p.retention < 0 {
		return nil
	}
	if err := p.warn(ctx); err != nil { // before anything is deleted
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

// attend keeps the clock of attended time.
func (p *pruner) attend(ctx context.Context) error {
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

func (p *pruner) prune(ctx context.Context) (total int, err error) {
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
		if time.Since(p.attended) > pruneInterval { // during a long prune, too, workers attend
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

// warn logs which consumers are about to lose events and which have lost some, once each.
func (p *pruner) warn(ctx context.Context) error {
	rows, _ := p.pool.Query(ctx, `
		SELECT c.name, c.state = 'pruned', c.expires_seconds FROM iu_outbox.consumer_status AS c
		WHERE c.state = 'pruned' OR c.expiring ORDER BY c.name LIMIT 1000`) // CollectRows returns its error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[expiring])
	if err != nil {
		return fmt.Errorf("find consumers that expire: %w", err)
	}
	warned := make(map[string]string, len(found))
	for _, c := range found {
		what := "expires"
		if c.Pruned {
			what = "pruned"
		}
		warned[c.Name] = what
		if p.warned[c.Name] != what {
			p.log(ctx, c)
		}
	}
	p.warned = warned
	return nil
}

func (p *pruner) log(ctx context.Context, c expiring) {
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
