package webui

import (
	"math"

	"github.com/iu-core/iuworker/internal/operate/history"
)

// spark is a line without axes, in a square of lineUnits that is stretched.
type spark struct {
	Name string // what it shows, and for how long
	Line string
	Area string // below the line
}

// sparkline draws values, from 0 to the highest; NaN is a gap. name is read to those who do not see it.
func sparkline(name string, values []float64) spark {
	a := axis{steps: len(values)}
	top := 0.0
	for _, v := range values {
		if !math.IsNaN(v) {
			top = max(top, v)
		}
	}
	y := func(v float64) float64 { // room for the width of the line
		if top == 0 {
			return 0.06
		}
		return 0.06 + 0.88*v/top
	}
	s := spark{Name: name, Line: linePath(values, a, y)}
	for from := 0; from < len(values); {
		if math.IsNaN(values[from]) {
			from++
			continue
		}
		until := from
		for until < len(values) && !math.IsNaN(values[until]) {
			until++
		}
		run := make([]float64, len(values))
		for i := range run {
			run[i] = math.NaN()
			if i >= from && i < until {
				run[i] = values[i]
			}
		}
		if until-from > 1 {
			s.Area += linePath(run, a, y) + "V" + units(lineUnits) + "H" + units(a.middle(from)*lineUnits) + "Z"
		}
		from = until
	}
	return s
}

// sparkValues picks a value of each point of a series; nil is a gap, and so is a step of which nothing is known.
func sparkValues(s history.Series, value func(history.Point) *float64) []float64 {
	values := make([]float64, len(s.Points))
	for i, p := range s.Points {
		values[i] = math.NaN()
		if p.Known {
			values[i] = orGap(value(p))
		}
	}
	return values
}

// counts makes values of a sparkline of counts, such as those of history.TemplateSum.
func counts(n []int64) []float64 {
	values := make([]float64, len(n))
	for i, v := range n {
		values[i] = float64(v)
	}
	return values
}
