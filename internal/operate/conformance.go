package operate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	iusql "github.com/iu-core/iuworker/sql"
)

// Results of the scan.
const (
	ResultPass   = "PASS"
	ResultFail   = "FAIL"   // missing, not allowed, or unexpected in a core that iuworker created
	ResultListed = "LISTED" // an adopted core has it besides
)

// conformant is the verdict if all classes pass.
const conformant = "7/7 PASS"

// ConformanceReport says what iu-core consists of here, against what it should (D9).
type ConformanceReport struct {
	Verdict string            `json:"verdict"` // n/7 PASS
	Core    string            `json:"core"`    // created, adopted or missing
	Classes []ConformanceLine `json:"classes"`
	Objects []ConformanceLine `json:"objects"`

	// ForeignGrants are beside the seven classes: they never change the verdict. See iusql.ForeignGrants.
	ForeignGrants []iusql.ForeignGrant `json:"foreign_grants"`
}

// ConformanceLine is an object, or a class with its counts in Note.
type ConformanceLine struct {
	Class  string `json:"class"`
	Name   string `json:"name"`
	Result string `json:"result"`
	Note   string `json:"note,omitempty"`
}

// Passed reports whether all classes pass.
func (r ConformanceReport) Passed() bool { return r.Verdict == conformant }

// Conformance runs the scan of iu-core. It needs none of the worker's own schema, and changes nothing.
func Conformance(ctx context.Context, q Querier) (ConformanceReport, error) {
	var report ConformanceReport
	rows, err := q.Query(ctx, iusql.Conformance())
	if err != nil {
		return report, fmt.Errorf("scan iu-core: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ConformanceLine])
	if err != nil {
		return report, fmt.Errorf("scan iu-core: %w", err)
	}
	for _, line := range lines {
		switch {
		case line.Class == "verdict":
			report.Verdict, report.Core = line.Result, line.Note
		case line.Name == "all":
			report.Classes = append(report.Classes, line)
		default:
			report.Objects = append(report.Objects, line)
		}
	}
	report.ForeignGrants, err = iusql.ForeignGrants(ctx, q)
	return report, err
}
