package webui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/iu-core/iuworker/internal/operate/history"
)

// barLeast is the height of the smallest bar, as a share, so that a single event can be seen.
const barLeast = 0.015

// kinds are the parts of a bar, lowest first.
var kinds = []struct {
	chartKey

	of func(history.Point) int64
}{
	{chartKey{"composed", "Live"}, func(p history.Point) int64 { return p.Composed }},
	{chartKey{"scaleout", "Scale-outs"}, func(p history.Point) int64 { return p.Scaleout }},
	{chartKey{"dead", "Dead letters"}, func(p history.Point) int64 { return p.Dead }},
}

// eventsChart draws what events became, one bar per step.
func eventsChart(id string, s history.Series) chart {
	c, a := barChart(id, s)
	c.Heads = []string{"Inserted", "Live", "Scale-outs", "Dry runs", "Dead letters", "Announced"}
	sums := make([]int64, len(kinds))
	for i, p := range s.Points {
		for k, kind := range kinds {
			sums[k] += kind.of(p)
		}
		c.Rows[i].Cells = []string{"–", "–", "–", "–", "–", "–"}
		if p.Known {
			c.Rows[i].Cells = []string{
				number(p.Inserted), number(p.Composed), number(p.Scaleout), number(p.DryRun), number(p.Dead), number(p.Announced),
			}
		}
	}
	for k, kind := range kinds {
		c.Keys = append(c.Keys, chartKey{kind.Class, kind.Name + " " + number(sums[k])})
	}
	c.mark(a, s.Marks)
	c.Summary = fmt.Sprintf("Bars of events per %s since %s: %s live, %s by scale-outs, %s dead letters", a.stepName(), moment(s.From),
		number(sums[0]), number(sums[1]), number(sums[2]))
	if len(c.Bars) == 0 {
		c.Empty = "A bar appears here for each " + a.stepName() + " in which events were composed."
	}
	return c
}

// templateChart draws how many events of a template were composed or became dead letters.
func templateChart(id string, s history.TemplateSeries, points []int64) chart {
	series := history.Series{From: s.From, Until: s.Until, Step: s.Step}
	sum := int64(0)
	for i, n := range points {
		series.Points = append(series.Points, history.Point{At: s.From.Add(time.Duration(i) * s.Step), Composed: n, Known: true})
		sum += n
	}
	c, a := barChart(id, series)
	c.Heads = []string{"Events"}
	for i, n := range points {
		c.Rows[i].Cells = []string{number(n)}
	}
	c.Summary = fmt.Sprintf("Bars of events per %s since %s: %s", a.stepName(), moment(s.From), number(sum))
	return c
}

// barChart returns a chart with its axes and bars, and rows that lack their cells.
func barChart(id string, s history.Series) (chart, axis) {
	a := axis{s.From, s.Step, len(s.Points)}
	c := chart{ID: id, Title: "Events per " + a.stepName(), Unit: "events per " + a.stepName(), XTicks: clockTicks(a)}
	totals := make([]float64, len(s.Points))
	for i, p := range s.Points {
		c.Rows = append(c.Rows, chartRow{At: p.At})
		for _, kind := range kinds {
			totals[i] += float64(kind.of(p))
		}
	}
	c.bars(a, s, totals)
	return c, a
}

func (c *chart) bars(a axis, s history.Series, totals []float64) {
	ticks := linearTicks(cutAt(totals))
	top := ticks[len(ticks)-1]
	c.YTicks = placed(ticks, func(v float64) float64 { return v / top }, countOf)
	width := 1 / float64(max(a.steps, 1))
	for i, p := range s.Points {
		if totals[i] == 0 {
			continue
		}
		bar := chartBar{Running: !p.At.Add(s.Step).Before(s.Until)}
		title := []string{moment(p.At)}
		share, bottom := min(1, top/totals[i]), 1.0
		for _, kind := range kinds {
			n := kind.of(p)
			if n == 0 {
				continue
			}
			height := min(max(float64(n)*share/top, barLeast), bottom)
			bottom -= height
			bar.Parts = append(bar.Parts, chartPart{
				kind.Class, percent((float64(i) + 0.1) * width), percent(bottom), percent(0.8 * width), percent(height),
			})
			title = append(title, kind.Name+" "+number(n))
		}
		bar.Title = strings.Join(title, ", ")
		c.Bars = append(c.Bars, bar)
	}
	c.cut(a, s, totals, top)
}

// cut marks the bars that are higher than top. A mark has the number of its bar unless the number of a higher bar is in the way.
func (c *chart) cut(a axis, s history.Series, totals []float64, top float64) {
	highest, near := 0, int(0.12*float64(a.steps))
	for i, total := range totals {
		if total <= top {
			continue
		}
		if total > totals[highest] {
			highest = i
		}
		cut, from := chartTick{Pos: percent(a.middle(i))}, max(0, i-near)
		if neighbours := totals[from:min(i+near+1, len(totals))]; slices.Index(neighbours, slices.Max(neighbours)) == i-from {
			cut.Label = countOf(total)
		}
		c.Cuts = append(c.Cuts, cut)
	}
	if len(c.Cuts) > 0 {
		c.Note = fmt.Sprintf("Bars are cut at %s; the highest is %s, at %s", countOf(top), countOf(totals[highest]), moment(s.Points[highest].At))
	}
}

// moment returns the time of a step as text.
func moment(t time.Time) string { return t.UTC().Format("Mon 2 Jan, 15:04 UTC") }
