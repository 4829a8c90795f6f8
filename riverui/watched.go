package webui

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

const keepHistory = 30 * time.Second

// watched is what the pages of consumers, workers and settings show, shared by all who see them.
type watched struct {
	lags     cached[operate.ConsumerSeries] // of the last hour, of all consumers
	fleet    cached[operate.Fleet]
	queues   cached[[]operate.Queue]
	settings cached[[]operate.Setting]
	kept     cached[operate.Kept]
}

func newWatched(cfg Config) *watched {
	db := limited{cfg.Pool}
	return &watched{
		lags: source(db, keepHistory, func(ctx context.Context, tx pgx.Tx) (operate.ConsumerSeries, error) {
			return operate.ConsumerHistory(ctx, tx, time.Hour)
		}),
		fleet:  source(db, keepState, operate.ReadFleet),
		queues: source(db, keepState, operate.Queues),
		settings: source(db, keepState, func(ctx context.Context, tx pgx.Tx) ([]operate.Setting, error) {
			return operate.Settings(ctx, tx)
		}),
		kept: source(db, keepSummary, operate.ReadKept),
	}
}

// both makes one reading of two: as old as the older one, and failed if one has failed.
func both[A, B, C any](a reading[A], b reading[B], join func(A, B) C) reading[C] {
	joined := reading[C]{At: a.At, Err: a.Err}
	if b.At.Before(joined.At) {
		joined.At = b.At
	}
	if joined.Err == nil {
		joined.Err = b.Err
	}
	if !joined.At.IsZero() {
		joined.Value = join(a.Value, b.Value)
	}
	return joined
}
