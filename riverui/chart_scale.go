package webui

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// linearTicks returns round numbers from 0 to at least top, four or five steps of 1, 2 or 5 times a power of ten.
func linearTicks(top float64) []float64 {
	top = max(top, 4)
	unit := math.Pow(10, math.Floor(math.Log10(top/4)))
	step := unit
	for _, times := range []float64{1, 2, 5, 10} {
		if step = unit * times; top/step <= 5 {
			break
		}
	}
	ticks := []float64{0}
	for ticks[len(ticks)-1] < top {
		ticks = append(ticks, float64(len(ticks))*step)
	}
	return ticks
}

// A bar is cut if it is burst times higher than nine tenths of the bars.
const burst = 4

// cutAt returns the height at which bars end: that of the highest, unless the other bars could not be seen beside it.
func cutAt(totals []float64) float64 {
	some := slices.DeleteFunc(slices.Clone(totals), func(v float64) bool { return v == 0 })
	if len(some) == 0 {
		return 0
	}
	slices.Sort(some)
	top := some[len(some)-1]
	if usual := some[(len(some)-1)*9/10]; top > burst*usual {
		return 1.5 * usual
	}
	return top
}

// Lengths of time that are ticks, in seconds: the fine ones if six of them cover a scale, otherwise the coarse ones.
var (
	coarseLengths = []float64{0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 86400, 864000}
	fineLengths   = []float64{
		0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000, 86400, 864000,
	}
)

// lengthTicks returns ticks of a log scale that covers lengths of time from low to high.
func lengthTicks(low, high float64) (ticks []float64) {
	for _, lengths := range [][]float64{fineLengths, coarseLengths} {
		first, exact := slices.BinarySearch(lengths, low)
		if !exact {
			first--
		}
		first = max(0, min(first, len(lengths)-2))
		last, _ := slices.BinarySearch(lengths, high)
		last = max(first+1, min(last, len(lengths)-1))
		if ticks = lengths[first : last+1]; len(ticks) <= 6 {
			break
		}
	}
	return ticks
}

// countTicks returns ticks of a log scale of counts that has a place for 0 and at most six ticks.
func countTicks(high float64) []float64 {
	if high <= 10 {
		return []float64{0, 1, 2, 5, 10}
	}
	ticks := []float64{0}
	for v := 1.0; ticks[len(ticks)-1] < high; v *= 10 {
		ticks = append(ticks, v)
	}
	if len(ticks) <= 6 {
		return ticks
	}
	kept := []float64{0}
	for i := 1 + len(ticks)%2; i < len(ticks); i += 2 { // every other one, the highest among them
		kept = append(kept, ticks[i])
	}
	return kept
}

// countOf names a count that is a tick.
func countOf(n float64) string { return number(int64(n)) }

// lengthOf names a length of time that is a tick or a step, such as 10 min.
func lengthOf(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%g ms", math.Round(seconds*1000))
	case seconds < 60:
		return fmt.Sprintf("%g s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%g min", math.Round(seconds/6)/10)
	case seconds < 86400:
		return fmt.Sprintf("%g h", math.Round(seconds/360)/10)
	default:
		return fmt.Sprintf("%g d", math.Round(seconds/8640)/10)
	}
}

// clockTicks returns round times of the clock in a series, in UTC. Midnights have their day below.
func clockTicks(a axis) []chartTick {
	every := 24 * time.Hour
	for _, d := range []time.Duration{time.Minute, 5 * time.Minute, 10 * time.Minute, time.Hour, 4 * time.Hour} {
		if a.span()/d <= 6 {
			every = d
			break
		}
	}
	var ticks []chartTick
	for t := a.from.UTC().Add(every - 1).Truncate(every); t.Before(a.from.Add(a.span())); t = t.Add(every) {
		tick := chartTick{Pos: percent(a.at(t)), Label: t.Format("15:04")}
		if t.Equal(t.Truncate(24 * time.Hour)) {
			tick.Below = t.Format("Mon 2")
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// placed returns labelled ticks at their places from the top; y returns a place from the bottom, 0 to 1.
func placed(ticks []float64, y func(float64) float64, label func(float64) string) []chartTick {
	placed := make([]chartTick, len(ticks))
	for i, v := range ticks {
		placed[i] = chartTick{Pos: percent(1 - y(v)), Label: label(v)}
	}
	return placed
}

// logarithmic returns a scale from the first tick to the last one.
func logarithmic(ticks []float64) func(float64) float64 {
	low, high := math.Log(ticks[0]), math.Log(ticks[len(ticks)-1])
	return func(v float64) float64 { return max(0, min(1, (math.Log(max(v, 1e-9))-low)/(high-low))) }
}
