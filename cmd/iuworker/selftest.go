package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/conformance"
)

const selftestTimeout = 5 * time.Minute

func (a *app) selftestCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "selftest",
		Short: "Test auto-instantiation with twelve probes that leave nothing behind",
		Long: `Runs twelve probes, each in a transaction that is rolled back, and prints PASS or FAIL for each. Workers may be running,
and gates may be open or closed. Run it as the owner of iu-core. Exit code 1 unless all pass.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onDatabase(cmd, selftestTimeout, func(ctx context.Context, pool *pgxpool.Pool) error {
				report, err := conformance.Selftest(ctx, pool)
				if err != nil {
					return err
				}
				return a.report(report, func(w io.Writer) { writeSelftest(w, report) }, report.OK(),
					fmt.Errorf("%d of %d probes passed; to check iu-core, run: iuworker conformance", report.Passed, conformance.Probes))
			})
		},
	})
}

func writeSelftest(w io.Writer, report conformance.SelftestReport) {
	columns(w, func(w io.Writer) {
		for _, probe := range report.Probes {
			fmt.Fprintf(w, "%s\t%s\t%s\n", probe.Name, probe.Result, oneLine(&probe.Note))
		}
	})
	fmt.Fprintf(w, "%d/%d PASS\n", report.Passed, conformance.Probes)
}
