package webui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/history"
)

// latencyChart draws how long events took from INSERT to instance.
func latencyChart(id string, s history.Series) chart {
	a := axis{s.From, s.Step, len(s.Points)}
	c := chart{
		ID: id, Title: "From INSERT to instance", Unit: "log scale", XTicks: clockTicks(a),
		Heads: []string{"p50", "p95", "After parking, not measured"}, Keys: []chartKey{{"p50", "p50"}, {"p95", "p95"}},
	}
	low, high := math.Inf(1), 0.0
	var median, last, worst *float64
	for _, p := range s.Points {
		c.Rows = append(c.Rows, chartRow{At: p.At, Cells: []string{length(p.P50), length(p.P95), number(p.AfterParking)}})
		for _, v := range []*float64{p.P50, p.P95} {
			if v != nil {
				low, high = min(low, *v), max(high, *v)
			}
		}
		if p.P95 != nil {
			median, last = p.P50, p.P95
			if worst == nil || *p.P95 > *worst {
				worst = p.P95
			}
		}
	}
	if worst == nil {
		low, high = 0.001, 10
		c.Empty = "Two lines appear here once events are composed: the times within which 50 % and 95 % of them were. Parked events are left out."
		c.Summary = "No event was measured since " + moment(s.From)
	} else {
		c.Keys = []chartKey{{"p50", "p50 " + length(median)}, {"p95", "p95 " + length(last)}}
		c.Summary = fmt.Sprintf("Lines of the 50th and the 95th percentile since %s: 95 %% within %s last, within %s at worst",
			moment(s.From), seconds(last), seconds(worst))
	}
	ticks := lengthTicks(max(low, 0.001), high)
	y := logarithmic(ticks)
	c.YTicks = placed(ticks, y, lengthOf)
	p50, p95 := sparkValues(s, func(p history.Point) *float64 { return p.P50 }), sparkValues(s, func(p history.Point) *float64 { return p.P95 })
	c.Lines = []chartLine{{"p95", linePath(p95, a, y)}, {"p50", linePath(p50, a, y)}}
	c.mark(a, s.Marks)
	return c
}

// length returns a latency as text; "–" if there is none.
func length(v *float64) string {
	if v != nil && *v > 0 && *v < 0.001 {
		return "under 1 ms"
	}
	return seconds(v)
}

// linesShown is how many consumers have a line: more could not be told apart.
const linesShown = 6

// lagChart draws how far behind consumers were: those with the greatest lag if there are too many.
func lagChart(id string, s history.ConsumerSeries) chart {
	most := func(l history.ConsumerLag) (most int64) {
		for _, lag := range l.Lag {
			if lag != nil {
				most = max(most, *lag)
			}
		}
		return most
	}
	consumers := slices.Clone(s.Consumers)
	slices.SortStableFunc(consumers, func(a, b history.ConsumerLag) int { return cmp.Compare(most(b), most(a)) })
	others := max(0, len(consumers)-linesShown)
	consumers = consumers[:len(consumers)-others]

	a := axis{from: s.From, step: s.Step}
	if s.Step > 0 {
		a.steps = int(s.Until.Sub(s.From)/s.Step) + 1
	}
	c := chart{ID: id, Title: "Events behind", Unit: "events, log scale", XTicks: clockTicks(a)}
	for step := range a.steps {
		c.Rows = append(c.Rows, chartRow{At: s.At(step)})
	}
	var high int64
	if len(consumers) > 0 {
		high = most(consumers[0])
		c.Summary = fmt.Sprintf("Lines of how many events consumers were behind since %s: %s at most, %s", moment(s.From), number(high), consumers[0].Name)
	} else {
		c.Summary = "There has been no consumer since " + moment(s.From)
		c.Empty = "A line for each durable consumer appears here: the number of events that it has not handled yet."
	}
	ticks := countTicks(float64(high))
	top := math.Log1p(ticks[len(ticks)-1])
	y := func(v float64) float64 { return math.Log1p(v) / top } // has a place for 0
	c.YTicks = placed(ticks, y, countOf)
	for i, consumer := range consumers {
		lags := make([]*int64, a.steps)
		copy(lags, consumer.Lag)
		for step, lag := range lags {
			c.Rows[step].Cells = append(c.Rows[step].Cells, number(lag))
		}
		class := "c" + strconv.Itoa(i+1)
		c.Heads = append(c.Heads, consumer.Name)
		c.Keys = append(c.Keys, chartKey{class, consumer.Name})
		c.Lines = append(c.Lines, chartLine{class, linePath(gaps(lags), a, y)})
	}
	if others > 0 {
		c.Note = operate.Count{N: int64(others)}.Of("consumer that was", "consumers that were") + " less far behind are not drawn"
	}
	return c
}

// spark is a line without axes, in a square of lineUnits that is stretched.
type spark struct {
	Name string // what it shows, and for how long
	Line string
	Area string // below the line
}

// sparkline draws values from 0 to the highest; NaN is a gap. name is read to those who do not see the line.
func sparkline(name string, values []float64) spark {
	top := 0.0
	for _, v := range values {
		if v > top {
			top = v
		}
	}
	y := func(v float64) float64 { return 0.06 + 0.88*v/cmp.Or(top, 1) } // room for the width of the line
	s := spark{Name: name, Line: linePath(values, axis{steps: len(values)}, y)}
	for part := range strings.SplitSeq(s.Line, "M") {
		if strings.Contains(part, "L") {
			left, _, _ := strings.Cut(part, " ")
			s.Area += "M" + part + "V" + units(1) + "H" + left + "Z"
		}
	}
	return s
}

// sparkValues picks one value of each point of a series. An unknown value and an unknown point are gaps.
func sparkValues(s history.Series, value func(history.Point) *float64) []float64 {
	values := make([]*float64, len(s.Points))
	for i, p := range s.Points {
		if p.Known {
			values[i] = value(p)
		}
	}
	return gaps(values)
}

// counts converts counts, such as those of operate.TemplateSum, for a sparkline.
func counts(n []int64) []float64 {
	values := make([]float64, len(n))
	for i, v := range n {
		values[i] = float64(v)
	}
	return values
}
