package bench

import (
	"fmt"
	"io"
	"math"
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
	Events      int               `json:"events"` // in one measurement of drain and whole way
	Repetitions int               `json:"repetitions"`
	Measures    []Measure         `json:"measures"`
	Notes       []string          `json:"notes,omitempty"`
	Growth      []GrowthPoint     `json:"growth,omitempty"`
}

// GrowthPoint is a stretch of the long history.
type GrowthPoint struct {
	Finished int     `json:"finished"` // jobs, at its end
	Seconds  float64 `json:"seconds"`  // since the beginning
	Rate     float64 `json:"rate"`     // jobs per second within it
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

// Bar is what the ratio must reach, or the measure itself if there is no reference.
type Bar struct {
	Lower bool    `json:"lower_is_better"`
	Bar   float64 `json:"bar"`
	Aim   float64 `json:"aim"`
}

// Verdict compares a measure with its bar.
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
	case reaches(b.Aim):
		return VerdictAim
	case reaches(b.Bar):
		return VerdictBar
	}
	return VerdictBelow
}

// measure returns a line of values without a reference.
func measure(name, unit string, values []float64, bar *Bar) Measure {
	m := Measure{Name: name, Unit: unit, Sample: sampleOf(values), Bar: bar}
	if bar != nil {
		m.Verdict = bar.judge(m.Median)
	}
	return m
}

// compare returns a line of values with those of their reference.
func compare(name, unit string, values []float64, reference string, references []float64, bar *Bar) Measure {
	m := measure(name, unit, values, nil)
	m.Reference = &Reference{Name: reference, Sample: sampleOf(references)}
	ratio := sampleOf(ratios(values, references))
	m.Ratio, m.Bar = &ratio, bar
	if bar != nil {
		m.Verdict = bar.judge(ratio.Median)
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

// Write writes the report as a table.
func (r *Report) Write(w io.Writer) error {
	fmt.Fprintf(w, "iuworker %s, PostgreSQL %s, %d CPUs, fsync %s, synchronous_commit %s, shared_buffers %s\n",
		r.Program, r.Postgres, r.CPUs, r.Settings["fsync"], r.Settings["synchronous_commit"], r.Settings["shared_buffers"])
	fmt.Fprintf(w, "%d events per measurement, %d repetitions, %.0f s; ratios are medians of pairs measured one after the other\n\n",
		r.Events, r.Repetitions, r.Seconds)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MEASURE\tMEDIAN\tMIN\tMAX\tUNIT\tREFERENCE\tRATIO\tBAR\tAIM\tREACHED")
	for _, m := range r.Measures {
		fmt.Fprintln(table, m.row())
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	r.writeFootnotes(w)
	return nil
}

func (m Measure) row() string {
	reference, ratio, bar, aim := "", "", "", ""
	if m.Reference != nil {
		reference = number(m.Reference.Median)
		ratio = fmt.Sprintf("%.2f [%.2f..%.2f]", m.Ratio.Median, m.Ratio.Min, m.Ratio.Max)
	}
	if m.Bar != nil {
		sign := ">="
		if m.Bar.Lower {
			sign = "<="
		}
		bar, aim = fmt.Sprintf("%s %g", sign, m.Bar.Bar), fmt.Sprintf("%g", m.Bar.Aim)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s",
		m.Name, number(m.Median), number(m.Min), number(m.Max), m.Unit, reference, ratio, bar, aim, m.Verdict)
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
			fmt.Fprintf(w, "reference of %s: %s\n", m.Name, m.Reference.Name)
		}
		if m.Note != "" {
			fmt.Fprintf(w, "%s: %s\n", m.Name, m.Note)
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
}
