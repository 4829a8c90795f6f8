package webui

import (
	"fmt"
	"math"
	"strings"

	"github.com/iu-core/iuworker/worker/operate"
)

// Sizes of a chart, in units of its own; the page scales it.
const (
	chartWidth  = 600
	chartHeight = 120
)

// hour is the last hour as two charts.
type hour struct {
	Bars                   []bar
	Announced              int64  // in all
	Peak                   int64  // a minute
	Median, P95            string // points of a line, as SVG writes them
	LastMedian, LastP95    *float64
	WorstP95               *float64
	Width, Height, Ceiling int
}

type bar struct {
	X, Y, Width, Height string
	Minute              operate.Minute
}

func drawHour(minutes []operate.Minute) hour {
	h := hour{Width: chartWidth, Height: chartHeight}
	if len(minutes) == 0 {
		return h
	}
	for i := range minutes {
		m := &minutes[i]
		h.Announced += m.Announced
		h.Peak = max(h.Peak, m.Announced)
		if m.P95 != nil {
			h.LastMedian, h.LastP95 = m.Median, m.P95
			if h.WorstP95 == nil || *m.P95 > *h.WorstP95 {
				h.WorstP95 = m.P95
			}
		}
	}
	step := float64(chartWidth) / float64(len(minutes))
	for i, m := range minutes {
		height := 0.0
		if h.Peak > 0 {
			height = float64(chartHeight) * float64(m.Announced) / float64(h.Peak)
		}
		if m.Announced > 0 {
			height = max(height, 2)
		}
		h.Bars = append(h.Bars, bar{
			X: units(float64(i) * step), Y: units(chartHeight - height), Width: units(step - 1), Height: units(height), Minute: m,
		})
	}
	if h.WorstP95 != nil {
		top := max(*h.WorstP95, 0.001)
		h.Median = line(minutes, step, top, func(m operate.Minute) *float64 { return m.Median })
		h.P95 = line(minutes, step, top, func(m operate.Minute) *float64 { return m.P95 })
	}
	return h
}

// line answers the path of a value; minutes without one are gaps.
func line(minutes []operate.Minute, step, top float64, value func(operate.Minute) *float64) string {
	var path strings.Builder
	pen := "M"
	for i, m := range minutes {
		v := value(m)
		if v == nil {
			pen = "M"
			continue
		}
		x, y := (float64(i)+0.5)*step, chartHeight*(1-*v/top)
		fmt.Fprintf(&path, "%s%s %s", pen, units(x), units(y))
		if pen == "M" {
			path.WriteString("h1") // a minute alone is a dot
		}
		pen = "L"
	}
	return path.String()
}

func units(v float64) string { return fmt.Sprintf("%g", math.Round(v*10)/10) }
