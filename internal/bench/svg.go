package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// The size of the picture in pixels, and of the margins for text around the chart.
const (
	svgWidth, svgHeight                = 720, 300
	svgLeft, svgRight, svgTop, svgFoot = 70, 60, 40, 45
)

// errNoGrowth means that there is nothing to draw.
var errNoGrowth = errors.New("this run created no history to draw; run it with --growth")

// WriteSVG draws the rate and the worker's memory over the history. It returns an error if the run created none.
func (r *Report) WriteSVG(w io.Writer) error {
	if len(r.Growth) == 0 {
		return errNoGrowth
	}
	last := r.Growth[len(r.Growth)-1].Finished
	var rates, memory []float64
	for _, p := range r.Growth {
		rates, memory = append(rates, p.Rate), append(memory, p.RSS)
	}
	top, topMemory := roundUp(rates), roundUp(memory)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"`, svgWidth, svgHeight)
	fmt.Fprintf(&b, ` role="img" aria-label="Rate over %d finished jobs">`+"\n", last)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, svgHeight)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="14">Outbox rows to announced instances: rate and memory of the worker over %s finished jobs</text>`+"\n",
		svgLeft, thousands(float64(last)))
	const lines = 4
	for i := range lines + 1 {
		y := float64(svgHeight-svgFoot) - float64(i)/lines*float64(svgHeight-svgTop-svgFoot)
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`, svgLeft, svgWidth-svgRight, y, y)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end" fill="#1f5fa8">%s</text>`, svgLeft-8, y+4, thousands(top*float64(i)/lines))
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" fill="#a8501f">%s</text>`+"\n", svgWidth-svgRight+8, y+4, thousands(topMemory*float64(i)/lines))
		x := svgLeft + float64(i)/lines*(svgWidth-svgLeft-svgRight)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x, svgHeight-svgFoot+18, thousands(float64(last)*float64(i)/lines))
	}
	fmt.Fprintf(&b, `<text x="%d" y="34" fill="#1f5fa8">events/s</text><text x="%d" y="34" text-anchor="end" fill="#a8501f">MB resident</text>`,
		svgLeft, svgWidth-svgRight)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">finished jobs</text>`+"\n", (svgLeft+svgWidth-svgRight)/2, svgHeight-8)
	b.WriteString(r.svgLine("#1f5fa8", top, rates) + r.svgLine("#a8501f", topMemory, memory) + "</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// svgLine draws a line with one value for each stretch, at its end.
func (r *Report) svgLine(colour string, top float64, values []float64) string {
	last := float64(r.Growth[len(r.Growth)-1].Finished)
	points := make([]string, len(values))
	for i, v := range values {
		x := svgLeft + float64(r.Growth[i].Finished)/last*(svgWidth-svgLeft-svgRight)
		y := float64(svgHeight-svgFoot) - v/top*float64(svgHeight-svgTop-svgFoot)
		points[i] = fmt.Sprintf("%.1f,%.1f", x, y)
	}
	return fmt.Sprintf(`<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`+"\n", colour, strings.Join(points, " "))
}

// roundUp returns the end of an axis with room for all values: one or two digits and zeros, and divisible by four.
func roundUp(values []float64) float64 {
	most := 4.0
	for _, v := range values {
		most = max(most, v)
	}
	unit := math.Pow(10, math.Floor(math.Log10(most))-1) * 4
	return math.Ceil(most/unit) * unit
}

// thousands writes a number with spaces between its thousands.
func thousands(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return text
}
