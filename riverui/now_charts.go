package webui

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/status"
)

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
	for _, r := range s.ranges {
		if r.Name == history.RangeOf(name).Name {
			return r
		}
	}
	return s.ranges[0]
}

// charts are both charts of a range.
type charts struct {
	Range           string
	Ranges          []history.Range
	Events, Latency chart
}

func drawCharts(r history.Range) func(history.Series) charts {
	return func(s history.Series) charts {
		return charts{
			Range: r.Name, Ranges: history.Ranges, Events: eventsChart("events-chart", s), Latency: latencyChart("latency-chart", s),
		}
	}
}

// templateRow is a template and its events in a range.
type templateRow struct {
	history.TemplateSum

	PerMinute string
	Spark     spark
}

type templateTable struct {
	Rows  []templateRow
	Range string
	All   operate.Count // templates there are
}

func (h *Handler) topTemplates(of *ranged) func(context.Context) reading[templateTable] {
	return func(ctx context.Context) reading[templateTable] {
		return both(of.templates.get(ctx), h.sources.situation.get(ctx), func(s history.TemplateSeries, situation status.Situation) templateTable {
			t := templateTable{Range: of.Name, All: situation.Templates}
			for _, sum := range s.Templates {
				perMinute := float64(sum.Composed+sum.Dead) / of.Span.Minutes()
				t.Rows = append(t.Rows, templateRow{sum, figureOf(&perMinute), sparkline("Events of "+sum.Key+" in "+of.Name, counts(sum.Points))})
			}
			return t
		})
	}
}
