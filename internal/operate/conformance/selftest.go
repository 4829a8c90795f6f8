package conformance

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	iusql "github.com/iu-core/iuworker/sql"
)

// Probes is how many probes a Selftest has.
const Probes = 12

// Probe is one probe of a Selftest.
type Probe struct {
	Name   string `json:"probe"`
	Result string `json:"result"` // PASS or FAIL
	Note   string `json:"note,omitempty"`
}

// SelftestReport is what the probes found.
type SelftestReport struct {
	Probes []Probe `json:"probes"`
	Passed int     `json:"passed"`
}

// OK reports whether all probes passed.
func (r SelftestReport) OK() bool { return r.Passed == Probes && len(r.Probes) == Probes }

// Selftest runs the twelve probes of auto-instantiation, each in a transaction that is rolled back: it changes nothing and
// notifies no session. It needs the owner of iu-core, and all gates closed. After an error the report has the probes that ran.
func Selftest(ctx context.Context, pool *pgxpool.Pool) (SelftestReport, error) {
	var report SelftestReport
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return report, fmt.Errorf("run the probes: %w", err)
	}
	// The script leaves no transaction open, unless it was cut off; then the pool drops the connection.
	defer conn.Release()
	// All statements in one message: through a transaction pooler, too, each probe has one session.
	results, err := conn.Conn().PgConn().Exec(ctx, iusql.Selftest()).ReadAll()
	for _, result := range results {
		if fields := result.FieldDescriptions; len(fields) != 3 || fields[0].Name != "probe" {
			continue // not a probe's statement
		}
		for _, row := range result.Rows {
			probe := Probe{Name: string(row[0]), Result: string(row[1]), Note: string(row[2])}
			report.Probes = append(report.Probes, probe)
			if probe.Result == Pass {
				report.Passed++
			}
		}
	}
	if err != nil {
		return report, fmt.Errorf("run the probes: %d of %d were run: %w", len(report.Probes), Probes, err)
	}
	return report, nil
}
