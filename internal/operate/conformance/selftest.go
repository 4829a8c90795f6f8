package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
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

// Selftest runs the twelve probes of auto-instantiation, a transaction each, which is rolled back: nothing is left, and
// nobody is notified. It needs the owner of iu-core, and no gate open. If it fails half-way, the report has the
// probes that ran.
func Selftest(ctx context.Context, pool *pgxpool.Pool) (SelftestReport, error) {
	var report SelftestReport
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return report, fmt.Errorf("run the probes: %w", err)
	}
	// The script leaves no transaction open, unless it was cut off; then the pool drops the connection.
	defer conn.Release()
	// All statements in one message: through a transaction pooler, too, each probe has one session.
	results := conn.Conn().PgConn().Exec(ctx, iusql.Selftest())
	for results.NextResult() {
		if err := report.add(results.ResultReader()); err != nil {
			return report, errors.Join(err, results.Close())
		}
	}
	if err := results.Close(); err != nil {
		return report, fmt.Errorf("run the probes: %d of %d were run: %w", len(report.Probes), Probes, err)
	}
	return report, nil
}

// add reads the row of a probe. Other statements return no rows.
func (r *SelftestReport) add(reader *pgconn.ResultReader) error {
	fields := reader.FieldDescriptions()
	isProbe := len(fields) == 3 && fields[0].Name == "probe"
	for reader.NextRow() {
		if !isProbe {
			continue
		}
		values := reader.Values()
		probe := Probe{Name: string(values[0]), Result: string(values[1]), Note: string(values[2])}
		r.Probes = append(r.Probes, probe)
		if probe.Result == Pass {
			r.Passed++
		}
	}
	if _, err := reader.Close(); err != nil {
		return fmt.Errorf("run the probes: %w", err)
	}
	return nil
}
