package webui

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// How long readings are kept; see cached.
const (
	keepState   = time.Second
	keepRecent  = 5 * time.Second
	keepSlow    = 20 * time.Second
	keepSummary = 30 * time.Second
	keepHealth  = 10 * time.Second
)

// sources are readings that all pages share.
type sources struct {
	state     cached[status.Status]
	consumers cached[[]subscribe.Consumer]
	situation cached[status.Situation]
	feed      cached[[]feedLine]
	paces     cached[history.Paces]
	ranges    []*ranged      // in the order of history.Ranges
	ready     cached[string] // why this worker is not ready; "" if it is
	health    cached[doctor.Report]
	scaleouts scaleout.Meter
}

func newSources(cfg Config, probes *probes) *sources {
	db := limited{cfg.Pool}
	return &sources{
		health: cached[doctor.Report]{keep: keepHealth, read: func(ctx context.Context) (doctor.Report, error) {
			return doctor.Run(ctx, doctor.Config{
				Pool: cfg.Pool, Direct: cfg.Direct, PoolSize: int(cfg.Pool.Config().MaxConns), Explain: func(err error) string {
					_, sentence := explain(err)
					return sentence
				},
			}), nil
		}},
		state: cached[status.Status]{keep: keepState, read: func(ctx context.Context) (status.Status, error) {
			return status.Read(ctx, db)
		}},
		consumers: source(db, keepState, func(ctx context.Context, tx pgx.Tx) ([]subscribe.Consumer, error) {
			return subscribe.ListConsumers(ctx, tx)
		}),
		situation: source(db, keepState, status.ReadSituation),
		feed:      source(db, keepState, readFeed),
		paces: source(db, keepState, func(ctx context.Context, tx pgx.Tx) (history.Paces, error) {
			return history.ReadPaces(ctx, tx)
		}),
		ranges: rangedSources(db),
		ready: cached[string]{keep: keepState, read: func(ctx context.Context) (string, error) {
			if err := probes.check(ctx); err != nil {
				return readyReason(err), nil
			}
			return "", nil
		}},
	}
}

func source[T any](db limited, keep time.Duration, read func(context.Context, pgx.Tx) (T, error)) cached[T] {
	return cached[T]{keep: keep, read: func(ctx context.Context) (value T, err error) {
		err = db.read(ctx, func(tx pgx.Tx) (err error) {
			value, err = read(ctx, tx)
			return err
		})
		return value, err
	}}
}
