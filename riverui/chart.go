package webui

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iu-core/iuworker/internal/operate/history"
)

// chart is an SVG that the server draws, and a template writes: {{template "chart" .Events}}. Its ID is unique in the page; class names
// come from 50_chart.css, which has the colours for light and dark.
//
// A chart carries its numbers as a table, for people without the script or the picture; the script reads the values of its hover
// line from that table. Positions are percentages, so the plot is as wide as its place and texts keep their size on a phone. Paths
// alone need units of their own, in a nested SVG that is stretched.
type chart struct {
	ID, Title string
	Unit      string // what the y axis counts, such as events per 5 min
	Summary   string // what the chart shows, in a sentence
	Empty     string // what will be shown here; "" if something is
	Note      string // about the scale
	Keys      []chartKey
	YTicks    []chartTick
	XTicks    []chartTick
	Bars      []chartBar
	Cuts      []chartTick // of bars that are higher than the scale; Label is "" if a neighbour's number is in the way
	Lines     []chartLine
	Marks     []chartMark
	More      int // marks that are not listed
	Heads     []string
	Rows      []chartRow
}

// LatestMarks returns the marks latest first, because their list may have to be scrolled.
func (c chart) LatestMarks() []chartMark {
	latest := slices.Clone(c.Marks)
	slices.Reverse(latest)
	return latest
}

// chartKey explains a class.
type chartKey struct{ Class, Name string }

// chartTick is a label of an axis. Pos is a percentage from the left, or from the top.
type chartTick struct{ Pos, Label, Below string }

// chartBar is what happened in one step.
type chartBar struct {
	Title   string
	Running bool // the step is not over
	Parts   []chartPart
}

type chartPart struct{ Class, X, Y, Width, Height string }

// chartLine is a path in a square of lineUnits.
type chartLine struct{ Class, Path string }

// chartMark is a moment that a list below the chart explains. Marks that fall together share a number.
type chartMark struct {
	X    string // "" if the mark before it has the same place
	N    int
	Mark history.Mark
	When string
}

// chartRow is a row of the table, which the hover line reads.
type chartRow struct {
	At    time.Time
	Cells []string
	Mark  string
}

const (
	lineUnits  = 1000
	marksShown = 8
)

// axis places moments of a series from the left to the right.
type axis struct {
	from  time.Time
	step  time.Duration
	steps int
}

func (a axis) span() time.Duration { return time.Duration(a.steps) * a.step }

// at returns the place of a moment, from 0 to 1 in the series.
func (a axis) at(t time.Time) float64 { return float64(t.Sub(a.from)) / float64(a.span()) }

// middle returns the place of a step.
func (a axis) middle(step int) float64 { return (float64(step) + 0.5) / float64(a.steps) }

// stepName names the length of a step, such as minute or 5 min.
func (a axis) stepName() string {
	if a.step <= time.Minute {
		return "minute"
	}
	return lengthOf(a.step.Seconds())
}

// percent returns a share of a width or a height as CSS and SVG take it.
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*10000)/100, 'f', -1, 64) + "%"
}

// mark places the latest marksShown marks of a series.
func (c *chart) mark(a axis, marks []history.Mark) {
	if a.steps == 0 {
		return
	}
	c.More = max(0, len(marks)-marksShown)
	n, last := 0, math.Inf(-1)
	for _, m := range marks[c.More:] {
		x := a.at(m.At)
		if x < 0 || x > 1 {
			continue
		}
		placed := chartMark{N: n, Mark: m, When: m.At.UTC().Format("15:04 UTC")}
		if a.span() > 24*time.Hour {
			placed.When = m.At.UTC().Format("Mon 2 15:04 UTC")
		}
		if x-last > 0.025 { // otherwise the numbers would cover each other
			n++
			placed.N, placed.X = n, percent(x)
			last = x
		}
		c.Marks = append(c.Marks, placed)
		step := min(int(x*float64(a.steps)), len(c.Rows)-1)
		if step >= 0 {
			c.Rows[step].Mark = strings.TrimPrefix(c.Rows[step].Mark+"; "+m.Text, "; ")
		}
	}
}

// linePath draws a line through values. NaN is a gap; a value between two gaps is a dot.
func linePath(values []float64, a axis, y func(float64) float64) string {
	var b strings.Builder
	for i, v := range values {
		switch {
		case math.IsNaN(v):
			continue
		case i == 0 || math.IsNaN(values[i-1]):
			fmt.Fprintf(&b, "M%s %sh0", units(a.middle(i)), units(1-y(v)))
		default:
			fmt.Fprintf(&b, "L%s %s", units(a.middle(i)), units(1-y(v)))
		}
	}
	return b.String()
}

// units returns a share of a width or a height in the units of a path.
func units(share float64) string { return fmt.Sprintf("%g", math.Round(share*10*lineUnits)/10) }

// gaps converts values for a path, to which nil is a gap.
func gaps[N int64 | float64](values []*N) []float64 {
	converted := make([]float64, len(values))
	for i, v := range values {
		converted[i] = math.NaN()
		if v != nil {
			converted[i] = float64(*v)
		}
	}
	return converted
}
