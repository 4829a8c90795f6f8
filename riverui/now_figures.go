package webui

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/status"
)

// figure is one of the five numbers.
type figure struct {
	ID, Title, Path string
	Value, Unit     string
	Note            string // a second number
	Delta           string // against the same time yesterday
	Spark           spark
}

// figures returns the five numbers. The sparklines are the last hour's.
func (h *Handler) figures(ctx context.Context) reading[[]figure] {
	return both(h.sources.paces.get(ctx), h.sources.ranges[0].series.get(ctx), drawFigures)
}

func drawFigures(p history.Paces, hour history.Series) []figure {
	now, before := p.Now, history.Pace{}
	if p.Yesterday != nil {
		before = *p.Yesterday
	}
	draw := func(what string, value func(history.Point) *float64) spark {
		return sparkline(what+" in the last hour", sparkValues(hour, value))
	}
	latency, unit, _ := strings.Cut(seconds(now.P95), " ")
	figures := []figure{
		{
			ID: "in", Title: "In", Path: "/events", Value: figureOf(now.In), Unit: "/s", Delta: change(now.In, before.In),
			Spark: draw("Rows into the outbox", func(p history.Point) *float64 { return asFloat(p.Inserted) }),
		},
		{
			ID: "outbox", Title: "Outbox", Path: "/events?state=waiting", Value: number(now.Outbox),
			Spark: draw("Rows that waited in the outbox", func(p history.Point) *float64 { return asFloat(p.Outbox) }),
		},
		{
			ID: "composed", Title: "Composed", Path: "/events?state=done", Value: figureOf(now.Composed), Unit: "/s",
			Delta: change(now.Composed, before.Composed),
			Spark: draw("Instances", func(p history.Point) *float64 { return new(float64(p.Composed + p.Scaleout + p.DryRun)) }),
		},
		{
			ID: "announced", Title: "Announced", Path: "/consumers", Value: figureOf(now.Announced), Unit: "/s",
			Delta: change(now.Announced, before.Announced),
			Spark: draw("Announced events", func(p history.Point) *float64 { return new(float64(p.Announced)) }),
		},
		{
			ID: "latency", Title: "Latency p95", Path: "#charts", Value: latency, Unit: unit, Delta: change(now.P95, before.P95),
			Spark: draw("Latency, 95th percentile,", func(p history.Point) *float64 { return p.P95 }),
		},
	}
	if now.OutboxAge != nil {
		figures[1].Note = "oldest " + seconds(now.OutboxAge)
	}
	if before.Outbox != nil {
		figures[1].Delta = "yesterday " + number(before.Outbox)
	}
	if now.Unannounced != nil {
		figures[3].Note = number(now.Unannounced) + " waiting"
	}
	return figures
}

func asFloat(n *int64) *float64 {
	if n == nil {
		return nil
	}
	return new(float64(*n))
}

// figureOf returns a number per unit of time: with two digits if it is small.
func figureOf(n *float64) string {
	switch {
	case n == nil:
		return "–"
	case *n == 0:
		return "0"
	case *n < 0.095:
		return fmt.Sprintf("%.2f", *n)
	case *n < 9.95:
		return fmt.Sprintf("%.1f", *n)
	default:
		return number(int64(math.Round(*n)))
	}
}

// change returns how a value compares with yesterday's; "" if either is unknown.
func change(now, before *float64) string {
	if now == nil || before == nil {
		return ""
	}
	switch percent := 100 * (*now - *before) / *before; {
	case *before == 0 && *now == 0:
		return "as yesterday"
	case *before == 0:
		return "none yesterday"
	case math.Abs(percent) < 1:
		return "as yesterday"
	case percent > 1000:
		return fmt.Sprintf("%.0f times yesterday", *now / *before)
	default:
		return strings.Replace(fmt.Sprintf("%+.0f %% on yesterday", percent), "-", "−", 1)
	}
}

// charts are both charts of a range.
type charts struct {
	Range           string
	Ranges          []history.Range
	Events, Latency chart
}

func (of *ranged) draw(s history.Series) charts {
	return charts{Range: of.Name, Ranges: history.Ranges, Events: eventsChart("events-chart", s), Latency: latencyChart("latency-chart", s)}
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

func (h *Handler) topTemplates(ctx context.Context, of *ranged) reading[templateTable] {
	return both(of.templates.get(ctx), h.sources.situation.get(ctx), func(s history.TemplateSeries, situation status.Situation) templateTable {
		t := templateTable{Range: of.Name, All: situation.Templates}
		for _, sum := range s.Templates {
			perMinute := float64(sum.Composed+sum.Dead) / of.Span.Minutes()
			t.Rows = append(t.Rows, templateRow{sum, figureOf(&perMinute), sparkline("Events of "+sum.Key+" in "+of.Name, counts(sum.Points))})
		}
		return t
	})
}
