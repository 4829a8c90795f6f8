package webui

import (
	"fmt"
	"strings"
	"time"

	"github.com/iu-core/iuworker/internal/operate/history"
)

// barLeast is the height of the smallest bar, as a share: one event is seen as well.
const barLeast = 0.015

// kinds are what bars are stacked of, lowest first.
var kinds = []struct {
	chartKey

	of func(history.Point) int64
}{
	{chartKey{"composed", "Live"}, func(p history.Point) int64 { return p.Composed }},
	{chartKey{"scaleout", "Scale-outs"}, func(p history.Point) int64 { return p.Scaleout }},
	{chartKey{"dead", "Dead letters"}, func(p history.Point) int64 { return p.Dead }},
}

// eventsChart draws what events became, a bar a step.
func eventsChart(id string, s history.Series) chart {
	a := axis{s.From, s.Step, len(s.Points)}
	c := chart{
		ID: id, Title: "Events per " + a.stepName(), Unit: "events per " + a.stepName(), XTicks: clockTicks(a),
		Heads: []string{"Inserted", "Live", "Scale-outs", "Dry runs", "Dead letters", "Announced"},
	}
	totals := make([]float64, len(s.Points))
	sums := make([]int64, len(kinds))
	for i, p := range s.Points {
		for k, kind := range kinds {
			totals[i] += float64(kind.of(p))
			sums[k] += kind.of(p)
		}
		row := chartRow{At: p.At, Cells: []string{"–", "–", "–", "–", "–", "–"}}
		if p.Known {
			row.Cells = []string{
				number(p.Inserted), number(p.Composed), number(p.Scaleout), number(p.DryRun), number(p.Dead), number(p.Announced),
			}
		}
		c.Rows = append(c.Rows, row)
	}
	for k, kind := range kinds {
		c.Keys = append(c.Keys, chartKey{kind.Class, kind.Name + " " + number(sums[k])})
	}
	c.bars(a, s, totals)
	c.mark(a, s.Marks)
	c.Summary = fmt.Sprintf("Bars of events per %s since %s: %s live, %s by scale-outs, %s dead letters", a.stepName(), moment(s.From),
		number(sums[0]), number(sums[1]), number(sums[2]))
	if sums[0]+sums[1]+sums[2] == 0 {
		c.Empty = "A bar appears here for each " + a.stepName() + " in which events were composed."
	}
	return c
}

func (c *chart) bars(a axis, s history.Series, totals []float64) {
	ticks := linearTicks(cutAt(totals))
	y, top := linear(ticks), ticks[len(ticks)-1]
	c.YTicks = scaled(ticks, y, func(v float64) string { return number(int64(v)) })
	width := 1 / float64(max(a.steps, 1))
	highest, labelled, label := -1, -1, -1 // steps, and a cut
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
			height := max(float64(n)*share/top, barLeast)
			height = min(height, bottom)
			bottom -= height
			bar.Parts = append(bar.Parts, chartPart{
				kind.Class, percent((float64(i) + 0.1) * width), percent(bottom), percent(0.8 * width), percent(height),
			})
			title = append(title, kind.Name+" "+number(n))
		}
		bar.Title = strings.Join(title, ", ")
		c.Bars = append(c.Bars, bar)
		if totals[i] > top {
			c.Cuts = append(c.Cuts, chartCut{X: percent(a.middle(i))})
			apart := labelled < 0 || a.middle(i)-a.middle(labelled) > 0.12 // else the numbers would cover each other
			if apart || totals[i] > totals[labelled] {
				if !apart {
					c.Cuts[label].Label = ""
				}
				labelled, label = i, len(c.Cuts)-1
				c.Cuts[label].Label = number(int64(totals[i]))
			}
			if highest < 0 || totals[i] > totals[highest] {
				highest = i
			}
		}
	}
	if highest >= 0 {
		c.Note = fmt.Sprintf("Bars are cut at %s; the highest is %s, at %s",
			number(int64(top)), number(int64(totals[highest])), moment(s.Points[highest].At))
	}
}

// moment names a step for people.
func moment(t time.Time) string { return t.UTC().Format("Mon 2 Jan, 15:04 UTC") }
