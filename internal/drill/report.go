package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/iu-core/iuworker/internal/operate/verify"
	iusql "github.com/iu-core/iuworker/sql"
)

// Verdict is how a scenario ended.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped" // it did not run, and says nothing
)

// Report is the result of a drill.
type Report struct {
	Passed     bool      `json:"passed"` // something ran, and nothing was wrong
	Program    string    `json:"program"`
	Postgres   string    `json:"postgres"`
	CPUs       int       `json:"cpus"`
	StartedAt  time.Time `json:"started_at"`
	Seconds    float64   `json:"seconds"` // of the scenarios
	Seed       uint64    `json:"seed"`
	Rate       int       `json:"rate"` // events per second
	Workers    int       `json:"workers"`
	Consumers  int       `json:"consumers"`
	Streams    int       `json:"streams"`
	Load       Load      `json:"load"`
	Scenarios  []*Result `json:"scenarios"`
	Audited    Counts    `json:"audited"`
	Lost       int       `json:"lost"` // findings of each kind
	Doubled    int       `json:"doubled"`
	OutOfOrder int       `json:"out_of_order"`
	Gaps       int       `json:"gaps"`
	Other      int       `json:"other"`
	Verified   int64     `json:"verified"` // rows that verify read
	Wrong      int64     `json:"wrong"`    // problems that verify found
	Findings   []Finding `json:"findings"`
	Note       string    `json:"note,omitempty"` // what earlier runs left on the server
	Repeat     string    `json:"repeat"`         // the command that repeats the run
	Left       string    `json:"left,omitempty"` // the directory with the logs and all findings, if something was wrong
}

// Result is what a scenario showed, over all its runs.
type Result struct {
	Scenario     string    `json:"scenario"`
	Verdict      Verdict   `json:"verdict"`
	Reason       string    `json:"reason,omitempty"` // why it was skipped
	Runs         int       `json:"runs"`
	Acknowledged int       `json:"acknowledged"` // events meanwhile
	Recoveries   []float64 `json:"recoveries"`   // seconds from the end of the fault until all is delivered, of each run
	Slowest      float64   `json:"slowest"`      // seconds from a commit until the last subscriber had its event, the most
	Findings     int       `json:"findings"`
}

// Median returns the median recovery in seconds, 0 if there is none.
func (r *Result) Median() float64 {
	if len(r.Recoveries) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Recoveries))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// Longest returns the longest recovery in seconds, 0 if there is none.
func (r *Result) Longest() float64 {
	if len(r.Recoveries) == 0 {
		return 0
	}
	return slices.Max(r.Recoveries)
}

// skip notes why a scenario cannot run. If it has run in another round, that counts.
func (r *Result) skip(reason string) { r.Reason = reason }

func (r *Result) add(recovery, slowest time.Duration, acknowledged int) {
	r.Recoveries = append(r.Recoveries, recovery.Seconds())
	r.Slowest = max(r.Slowest, slowest.Seconds())
	r.Acknowledged += acknowledged
}

func newReport(cfg Config) *Report {
	return &Report{
		Program: iusql.ProgramVersion, CPUs: runtime.NumCPU(), StartedAt: time.Now(), Seed: cfg.Seed, Rate: cfg.Rate,
		Workers: cfg.Workers, Consumers: consumers, Streams: streams, Repeat: cfg.Command,
		Scenarios: []*Result{}, Findings: []Finding{},
	}
}

// of returns the result of a scenario.
func (r *Report) of(scenario string) *Result {
	for _, result := range r.Scenarios {
		if result.Scenario == scenario {
			return result
		}
	}
	return &Result{}
}

// conclude adds findings, and judges.
func (r *Report) conclude(findings []Finding, counts Counts) {
	r.Audited = counts
	r.Findings = append(r.Findings, findings...)
	for _, f := range findings {
		switch f.Kind {
		case Lost:
			r.Lost++
		case Doubled:
			r.Doubled++
		case OutOfOrder:
			r.OutOfOrder++
		case Gap:
			r.Gaps++
		default:
			r.Other++
		}
		if f.Scenario != "" {
			r.of(f.Scenario).Findings++
		}
	}
	ran := false
	for _, result := range r.Scenarios {
		switch {
		case result.Runs == 0:
			result.Verdict = Skipped
		case result.Findings > 0:
			result.Verdict = Failed
		default:
			result.Verdict, result.Reason = Passed, ""
		}
		ran = ran || result.Runs > 0
	}
	r.Passed = ran && len(r.Findings) == 0
}

// verified adds what verify found.
func (r *Report) verified(v verify.Report) {
	r.Wrong = v.Wrong
	for _, check := range v.Checks {
		r.Verified += check.Looked
		for _, f := range check.Findings {
			r.Findings = append(r.Findings, Finding{Kind: Unverified, Problem: fmt.Sprintf("%s: %s: %s", check.Name, f.ID, f.Problem)})
		}
	}
	r.Passed = r.Passed && v.OK()
}

// Skips returns how many scenarios did not run.
func (r *Report) Skips() (n int) {
	for _, result := range r.Scenarios {
		if result.Verdict == Skipped {
			n++
		}
	}
	return n
}

// Evidence is the name of the file with the whole report, in the directory Report.Left.
const Evidence = "report.json"

// writeEvidence writes the report and the command that repeats the run beside the logs.
func (r *Report) writeEvidence(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, Evidence), append(text, '\n'), 0o600),
		os.WriteFile(filepath.Join(dir, "repeat.sh"), fmt.Appendf(nil, "# seed %d\n%s\n", r.Seed, r.Repeat), 0o600),
	)
}
