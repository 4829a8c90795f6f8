package bench

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

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
	default:
		return fmt.Sprintf("%.2f", v)
	}
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
