package webui

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/fleet"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/riverui/internal/dberror"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// How long readings are kept; see cached.
const (
	keepState   = time.Second
	keepRecent  = 5 * time.Second
	keepHealth  = 10 * time.Second
	keepSlow    = 20 * time.Second
	keepSummary = 30 * time.Second
)

// healthLimit bounds each statement of a check.
var healthLimit = 2 * time.Second

// sources are the readings that all pages share.
type sources struct {
	state     cached[status.Status]
	consumers cached[[]subscribe.Consumer]
	lags      cached[history.ConsumerSeries] // of all consumers, in the last hour
	situation cached[status.Situation]
	feed      cached[[]feedLine]
	paces     cached[history.Paces]
	fleet     cached[fleet.Fleet]
	queues    cached[[]operate.Queue]
	settings  cached[[]operate.Setting]
	kept      cached[status.Kept]
	reached   cached[struct{}] // fails while the database cannot be reached
	ranges    []*ranged        // in the order of history.Ranges
	ready     cached[string]   // why this worker is not ready; "" if it is
	health    cached[doctor.Report]
	scaleouts scaleout.Meter

	changed atomic.Int64 // the id of the last change, by whichever process, for which expire was called
}

func newSources(cfg Config, probes *probes) *sources {
	db := limited{primary: cfg.Pool, replica: cfg.Replica}
	live := limited{primary: cfg.Pool, replica: cfg.Replica, live: true}
	return &sources{
		health: cached[doctor.Report]{keep: keepHealth, read: func(ctx context.Context) (doctor.Report, error) {
			return doctor.Run(ctx, doctor.Config{
				Pool: cfg.Pool, Replica: cfg.Replica, Direct: cfg.Direct, PoolSize: int(cfg.Pool.Config().MaxConns),
				Timeout: 2 * readLimit, StatementTimeout: healthLimit,
				Explain: func(err error) string {
					_, sentence := dberror.Explain(err)
					return sentence
				},
			}), nil
		}},
		state: cached[status.Status]{keep: keepState, read: func(ctx context.Context) (status.Status, error) {
			return status.Read(ctx, live)
		}},
		consumers: source(live, keepState, func(ctx context.Context, tx pgx.Tx) ([]subscribe.Consumer, error) {
			return subscribe.ListConsumers(ctx, tx)
		}),
		lags: source(db, keepSummary, func(ctx context.Context, tx pgx.Tx) (history.ConsumerSeries, error) {
			return history.Consumers(ctx, tx, time.Hour)
		}),
		situation: source(live, keepState, status.ReadSituation),
		feed:      source(db, keepState, readFeed),
		paces: source(db, keepState, func(ctx context.Context, tx pgx.Tx) (history.Paces, error) {
			return history.ReadPaces(ctx, tx)
		}),
		fleet:  source(live, keepState, fleet.Read),
		queues: source(live, keepState, operate.Queues),
		settings: source(live, keepState, func(ctx context.Context, tx pgx.Tx) ([]operate.Setting, error) {
			return operate.Settings(ctx, tx)
		}),
		kept:   source(db, keepSummary, status.ReadKept),
		ranges: rangedSources(db),
		reached: cached[struct{}]{keep: outageEvery, read: func(ctx context.Context) (struct{}, error) {
			ctx, cancel := context.WithTimeout(ctx, outageTimeout)
			defer cancel()
			return struct{}{}, cfg.Pool.Ping(ctx)
		}},
		ready: cached[string]{keep: keepState, read: func(ctx context.Context) (string, error) {
			if err := probes.check(ctx); err != nil {
				return readyReason(err), nil
			}
			return "", nil
		}},
	}
}

// expire makes the readings that a change may have made wrong be read again.
func (s *sources) expire() {
	for _, shared := range []interface{ expire() }{&s.state, &s.consumers, &s.situation, &s.feed, &s.health, &s.queues, &s.settings} {
		shared.expire()
	}
}

const topTemplates = 8

// ranged are the readings of one of history.Ranges.
type ranged struct {
	history.Range

	series    cached[history.Series]
	lags      cached[history.ConsumerSeries]
	templates cached[history.TemplateSeries]
}

func rangedSources(db limited) (all []*ranged) {
	for _, r := range history.Ranges {
		all = append(all, &ranged{
			Range: r,
			series: source(db, keepRecent, func(ctx context.Context, tx pgx.Tx) (history.Series, error) {
				return history.Read(ctx, tx, r.Span)
			}),
			lags: source(db, keepRecent, func(ctx context.Context, tx pgx.Tx) (history.ConsumerSeries, error) {
				return history.Consumers(ctx, tx, r.Span)
			}),
			templates: source(db, keepSlow, func(ctx context.Context, tx pgx.Tx) (history.TemplateSeries, error) {
				return history.Templates(ctx, tx, r.Span, topTemplates)
			}),
		})
	}
	return all
}

// rangeNamed returns the readings of the range with that name, or of the shortest range.
func (s *sources) rangeNamed(name string) *ranged {
	i := slices.IndexFunc(s.ranges, func(r *ranged) bool { return r.Name == name })
	return s.ranges[max(i, 0)]
}
