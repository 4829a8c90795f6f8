package conformance

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

// Results of the scan.
const (
	Pass   = "PASS"
	Fail   = "FAIL"   // missing, not allowed, or unexpected in a core that iuworker created
	Listed = "LISTED" // an additional object of an adopted core
)

// conformant is the verdict if all classes pass.
const conformant = "7/7 PASS"

// Report compares the objects of iu-core with those that it should have (D9).
type Report struct {
	Verdict string `json:"verdict"` // n/7 PASS
	Core    string `json:"core"`    // created, adopted or missing
	Classes []Line `json:"classes"`
	Objects []Line `json:"objects"`

	// ForeignGrants belong to no class and never change the verdict. See iusql.ForeignGrants.
	ForeignGrants []iusql.ForeignGrant `json:"foreign_grants"`
}

// Line is an object, or a class with its counts in Note.
type Line struct {
	Class  string `json:"class"`
	Name   string `json:"name"`
	Result string `json:"result"`
	Note   string `json:"note,omitempty"`
}

// Passed reports whether all classes pass.
func (r Report) Passed() bool { return r.Verdict == conformant }

// Scan compares the objects of iu-core with those that it should have. It does not need the worker's own schema, and changes
// nothing.
func Scan(ctx context.Context, q operate.Querier) (Report, error) {
	var report Report
	lines, err := operate.Collect(ctx, q, pgx.RowToStructByPos[Line], iusql.Conformance())
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
