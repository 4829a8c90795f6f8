package webui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/history"
)

// latencyChart draws how long events took from INSERT to instance.
func latencyChart(id string, s history.Series) chart {
	a := axis{s.From, s.Step, len(s.Points)}
	c := chart{
		ID: id, Title: "From INSERT to instance", Unit: "log scale", XTicks: clockTicks(a),
		Heads: []string{"p50", "p95", "After parking, not measured"},
	}
	low, high := math.Inf(1), 0.0
	var p50, p95 []float64
	var median, last, worst *float64
	for _, p := range s.Points {
		c.Rows = append(c.Rows, chartRow{At: p.At, Cells: []string{length(p.P50), length(p.P95), number(p.AfterParking)}})
		p50, p95 = append(p50, orGap(p.P50)), append(p95, orGap(p.P95))
		if p.P50 != nil {
			low, high = min(low, *p.P50), max(high, *p.P50)
		}
		if p.P95 != nil {
			low, high = min(low, *p.P95), max(high, *p.P95)
			median, last = p.P50, p.P95
			if worst == nil || *p.P95 > *worst {
				worst = p.P95
			}
		}
	}
	if worst == nil {
		low, high = 0.001, 10
		c.Empty = "Two lines appear here once events are composed: the times within which 50 % and 95 % of them were. Parked events are left out."
		c.Summary = "No event was measured since " + moment(s.From)
	} else {
		c.Summary = fmt.Sprintf("Lines of the 50th and the 95th percentile since %s: 95 %% within %s last, within %s at worst",
			moment(s.From), seconds(last), seconds(worst))
	}
	ticks := lengthTicks(max(low, 0.001), high)
	y := logarithmic(ticks)
	c.YTicks = scaled(ticks, y, lengthOf)
	c.Keys = []chartKey{{"p50", "p50"}, {"p95", "p95"}}
	if last != nil {
		c.Keys = []chartKey{{"p50", "p50 " + length(median)}, {"p95", "p95 " + length(last)}}
	}
	c.Lines = []chartLine{{"p95", linePath(p95, a, y)}, {"p50", linePath(p50, a, y)}}
	c.mark(a, s.Marks)
	return c
}

// length writes a latency; "–" if there is none.
func length(v *float64) string {
	if v != nil && *v > 0 && *v < 0.001 {
		return "under 1 ms"
	}
	return seconds(v)
}

// linesShown is how many consumers have a line: more could not be told apart.
const linesShown = 6

// lagChart draws how far behind consumers were, those with the greatest lag if there are too many.
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
	y := logarithmicFromZero(ticks)
	c.YTicks = scaled(ticks, y, func(v float64) string { return number(int64(v)) })
	for i, consumer := range consumers {
		values := make([]float64, a.steps)
		for step := range a.steps {
			var lag *int64
			if step < len(consumer.Lag) {
				lag = consumer.Lag[step]
			}
			values[step] = orGap(lag)
			c.Rows[step].Cells = append(c.Rows[step].Cells, number(lag))
		}
		class := "c" + strconv.Itoa(i+1)
		c.Heads = append(c.Heads, consumer.Name)
		c.Keys = append(c.Keys, chartKey{class, consumer.Name})
		c.Lines = append(c.Lines, chartLine{class, linePath(values, a, y)})
	}
	if others > 0 {
		c.Note = plural(operate.Count{N: int64(others)}, "consumer that was", "consumers that were") + " less far behind are not drawn"
	}
	return c
}
