package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run measured.
type Report struct {
	Program     string            `json:"program"` // version
	Postgres    string            `json:"postgres"`
	Settings    map[string]string `json:"settings"` // of the server, those that matter
	CPUs        int               `json:"cpus"`
	StartedAt   time.Time         `json:"started_at"`
	Seconds     float64           `json:"seconds"`
	Events      int               `json:"events"` // in one measurement of the throughput
	Repetitions int               `json:"repetitions"`
	Measures    []Measure         `json:"measures"`
	Costs       []Cost            `json:"costs,omitempty"`
	Notes       []string          `json:"notes,omitempty"`
	Growth      []GrowthPoint     `json:"growth,omitempty"`
}

// GrowthPoint is a stretch of the long history.
type GrowthPoint struct {
	Finished int     `json:"finished"` // events, at its end
	Seconds  float64 `json:"seconds"`  // since the beginning
	Rate     float64 `json:"rate"`     // events per second within it
	RSS      float64 `json:"rss_mb"`
}

// Measure is one line of the report.
type Measure struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Sample

	Reference *Reference `json:"reference,omitempty"`
	Ratio     *Sample    `json:"ratio,omitempty"` // to the reference, pair by pair
	Bar       *Bar       `json:"bar,omitempty"`
	Verdict   Verdict    `json:"verdict,omitempty"`
	Note      string     `json:"note,omitempty"`
}

// Reference is what a measure is compared with.
type Reference struct {
	Name string `json:"name"`
	Sample
}

// Bar is what the ratio must reach, or the measure itself if there is no reference. 0 is no bar, or no aim.
type Bar struct {
	Lower bool    `json:"lower_is_better"`
	Bar   float64 `json:"bar,omitempty"`
	Aim   float64 `json:"aim,omitempty"`
}

// Verdict compares a measure with its bar. It is "" if there is no bar, and the aim was not reached.
type Verdict string

// Verdicts.
const (
	VerdictAim   Verdict = "aim"   // reached the aim
	VerdictBar   Verdict = "bar"   // reached the bar
	VerdictBelow Verdict = "below" // did not
)

func atLeast(bar, aim float64) *Bar { return &Bar{Bar: bar, Aim: aim} }
func atMost(bar, aim float64) *Bar  { return &Bar{Lower: true, Bar: bar, Aim: aim} }

func (b *Bar) judge(value float64) Verdict {
	reaches := func(mark float64) bool {
		if b.Lower {
			return value <= mark
		}
		return value >= mark
	}
	switch {
	case b.Aim != 0 && reaches(b.Aim):
		return VerdictAim
	case b.Bar == 0:
		return ""
	case reaches(b.Bar):
		return VerdictBar
	}
	return VerdictBelow
}

// measure returns a line of values without a reference.
func measure(name, unit string, values []float64) Measure {
	return Measure{Name: name, Unit: unit, Sample: sampleOf(values)}
}

// compare returns a line of values with those of their reference.
func compare(name, unit string, values []float64, reference string, references []float64) Measure {
	m := measure(name, unit, values)
	m.Reference = &Reference{Name: reference, Sample: sampleOf(references)}
	ratio := sampleOf(ratios(values, references))
	m.Ratio = &ratio
	return m
}

// judged returns the measure with a bar, which may be nil, and the verdict.
func (m Measure) judged(bar *Bar) Measure {
	if m.Bar = bar; bar == nil {
		return m
	}
	if m.Ratio != nil {
		m.Verdict = bar.judge(m.Ratio.Median)
	} else {
		m.Verdict = bar.judge(m.Median)
	}
	return m
}

// noisy is the spread of a reference above which a note says that the machine was busy.
const noisy = 0.25

// weigh adds notes about the load of the machine.
func (r *Report) weigh(load string) {
	for _, m := range r.Measures {
		if m.Reference != nil && m.Reference.spread() > noisy {
			r.Notes = append(r.Notes, fmt.Sprintf(
				"The machine was noisy: the reference of %q spread by %.0f %% of its median. Ratios, measured pair by pair, say more "+
					"than rates; run it again on a quiet machine.",
				m.Name, 100*m.Reference.spread()))
			break
		}
	}
	if load != "" {
		r.Notes = append(r.Notes, load)
	}
}

// width is the longest line of the report, in characters.
const width = 120

// Write writes the report as tables.
func (r *Report) Write(w io.Writer) error {
	writeWrapped(w, fmt.Sprintf("iuworker %s, PostgreSQL %s, %d CPUs, fsync %s, synchronous_commit %s, shared_buffers %s",
		r.Program, r.Postgres, r.CPUs, r.Settings["fsync"], r.Settings["synchronous_commit"], r.Settings["shared_buffers"]))
	writeWrapped(w, fmt.Sprintf("%d events per measurement, %d repetitions, %.0f s; ratios are medians of pairs measured one after the other",
		r.Events, r.Repetitions, r.Seconds))
	rows := make([]string, 0, len(r.Measures))
	for _, m := range r.Measures {
		rows = append(rows, m.row())
	}
	err := writeTable(w, "MEASURE\tMEDIAN\tUNIT\tREFERENCE\tRATIO\tBAR\tAIM\tREACHED", rows)
	if err == nil {
		err = r.writeCosts(w)
	}
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	r.writeFootnotes(w)
	return nil
}

// writeTable writes an empty line and a table; tabs separate the cells of a row.
func writeTable(w io.Writer, header string, rows []string) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, header)
	for _, row := range rows {
		fmt.Fprintln(table, row)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n")) // empty cells at the end
	}
	return nil
}

func (m Measure) row() string {
	reference, ratio, bar, aim := "", "", "", ""
	if m.Reference != nil {
		reference = number(m.Reference.Median)
		ratio = fmt.Sprintf("%.2f [%.2f..%.2f]", m.Ratio.Median, m.Ratio.Min, m.Ratio.Max)
	}
	if m.Bar != nil {
		bar, aim = m.Bar.cells()
	}
	return strings.Join([]string{m.Name, m.cell(), m.Unit, reference, ratio, bar, aim, string(m.Verdict)}, "\t")
}

// cells returns the bar and the aim as the table shows them.
func (b *Bar) cells() (bar, aim string) {
	if b.Bar != 0 {
		bar = fmt.Sprintf(">= %g", b.Bar)
		if b.Lower {
			bar = fmt.Sprintf("<= %g", b.Bar)
		}
	}
	if b.Aim != 0 {
		aim = fmt.Sprintf("%g", b.Aim)
	}
	return bar, aim
}

// number writes three significant digits.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *Report) writeFootnotes(w io.Writer) {
	fmt.Fprintln(w)
	said := map[string]bool{}
	for _, m := range r.Measures {
		if m.Reference != nil && !said[m.Reference.Name] {
			said[m.Reference.Name] = true
			writeWrapped(w, fmt.Sprintf("reference of %s: %s", m.Name, m.Reference.Name))
		}
		if m.Note != "" {
			writeWrapped(w, m.Name+": "+m.Note)
		}
	}
	for _, note := range r.Notes {
		writeWrapped(w, note)
	}
}

// writeWrapped writes a text in lines of at most width characters, and indents all but the first.
func writeWrapped(w io.Writer, text string) {
	const indent = "  "
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			fmt.Fprintln(w, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	fmt.Fprintln(w, line)
}
