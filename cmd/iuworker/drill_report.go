package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/iu-core/iuworker/internal/drill"
	"github.com/iu-core/iuworker/internal/operate"
)

// shownFindings is how many findings a drill prints; its directory has all.
const shownFindings = 20

func writeScenarios(w io.Writer) {
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, "SCENARIO\tWHAT IT DOES")
		for _, s := range drill.Scenarios() {
			fmt.Fprintf(w, "%s\t%s\n", s.Name, s.Does)
		}
	})
}

func drillFailure(r *drill.Report) error {
	if r.Skips() == len(r.Scenarios) {
		return errors.New("nothing was proven: every scenario was skipped")
	}
	return fmt.Errorf("the drill failed with %s; the logs and all findings are in %s", findings(len(r.Findings)), r.Left)
}

func scenarioCount(n int) string {
	if n == 1 {
		return "1 scenario"
	}
	return strconv.Itoa(n) + " scenarios"
}

func findings(n int) string {
	if n == 1 {
		return "1 finding"
	}
	return thousands(n) + " findings"
}

func writeDrill(w io.Writer, r *drill.Report) {
	columns(w, func(w io.Writer) { writeDrillScenarios(w, r) })
	fmt.Fprintln(w)
	columns(w, func(w io.Writer) { writeDrillAudit(w, r) })
	if len(r.Findings) > 0 {
		writeDrillFindings(w, r)
	}
	if r.Note != "" {
		fmt.Fprintf(w, "\n%s\n", r.Note)
	}
	fmt.Fprintf(w, "\n%s\n", drillVerdict(w, r))
}

func writeDrillScenarios(w io.Writer, r *drill.Report) {
	fmt.Fprintln(w, "SCENARIO\tVERDICT\tRUNS\tEVENTS\tRECOVERY\tLONGEST\tSLOWEST EVENT\tNOTE")
	for _, s := range r.Scenarios {
		if s.Verdict == drill.Skipped {
			fmt.Fprintf(w, "%s\t%s\t\t\t\t\t\t%s\n", s.Scenario, state(w, string(s.Verdict)), s.Reason)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t\n", s.Scenario, drillState(w, s.Verdict, string(s.Verdict)), s.Runs, thousands(s.Acknowledged),
			short(seconds(s.Median())), short(seconds(s.Longest())), short(seconds(s.Slowest)))
	}
}

func writeDrillAudit(w io.Writer, r *drill.Report) {
	l, c := r.Load, r.Audited
	fmt.Fprintf(w, "installation\tPostgreSQL %s, %d workers, %d consumers, %d stream clients, %d CPUs\n",
		serverVersion(r.Postgres), r.Workers, r.Consumers, r.Streams, r.CPUs)
	fmt.Fprintf(w, "load\t%s events acknowledged in %s at %d per second, %s of unknown outcome\n",
		thousands(l.Acknowledged), short(seconds(r.Seconds)), r.Rate, thousands(l.Unknown))
	fmt.Fprintf(w, "\t%s duplicates, %s dry runs, %s not composable, %s rolled back by the application\n",
		thousands(l.Duplicates), thousands(l.DryRuns), thousands(l.Poison), thousands(l.RolledBack))
	if l.Reverted > 0 {
		fmt.Fprintf(w, "\t%s acknowledged events were lost by the server itself, in failovers that lose commits\n", thousands(l.Reverted))
	}
	fmt.Fprintf(w, "audit\t%s events, %s instances, %s announced, %s dead letters, %s rolled back by the operator\n",
		thousands(c.Events), thousands(c.Instances), thousands(c.Announced), thousands(c.DeadLetters), thousands(c.Undone))
	fmt.Fprintf(w, "\t%s received, %s redelivered to consumers, %s received from a history that a failover lost\n",
		thousands(c.Received), thousands(c.Redelivered), thousands(c.Rewound))
	fmt.Fprintf(w, "\t%s lost, %s doubled, %s out of order, %s gaps, %s other\n",
		thousands(r.Lost), thousands(r.Doubled), thousands(r.OutOfOrder), thousands(r.Gaps), thousands(r.Other))
	fmt.Fprintf(w, "verify\t%s rows, %s problems\n", operate.Thousands(r.Verified), operate.Thousands(r.Wrong))
}

func writeDrillFindings(w io.Writer, r *drill.Report) {
	fmt.Fprintln(w)
	first, more := firstOf(r.Findings, shownFindings)
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, "FINDING\tSCENARIO\tWHO\tEVENT\tPROBLEM")
		for _, f := range first {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Kind, f.Scenario, f.Who, f.Event, flat(f.Problem))
		}
	})
	if more {
		fmt.Fprintf(w, "all %s are in %s\n", thousands(len(r.Findings)), filepath.Join(r.Left, drill.Evidence))
	}
}

func thousands(n int) string { return operate.Thousands(int64(n)) }

// drillState colours a text by a verdict.
func drillState(w io.Writer, v drill.Verdict, text string) string {
	word := "FAIL"
	if v == drill.Passed {
		word = "PASS"
	}
	return stateAs(w, word, text)
}

func drillVerdict(w io.Writer, r *drill.Report) string {
	ran := len(r.Scenarios) - r.Skips()
	switch {
	case ran == 0:
		return "NOTHING RAN: every scenario was skipped"
	case r.Passed:
		text := drillState(w, drill.Passed, "PASSED") + ": " + scenarioCount(ran)
		if n := r.Skips(); n > 0 {
			text += fmt.Sprintf("; %d skipped", n)
		}
		return text + "; to repeat it, run: " + r.Repeat
	}
	return drillState(w, drill.Failed, "FAILED") + "; to repeat it, run: " + r.Repeat
}
