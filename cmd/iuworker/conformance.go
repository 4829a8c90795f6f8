package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/conformance"
)

func (a *app) conformanceCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Check that iu-core has all expected objects",
		Long: `Checks the seven classes of objects of iu-core, PASS or FAIL each. An adopted iu-core may have more objects; they are
listed. Privileges of other roles on these objects and on iuworker's own are listed with the REVOKE that removes them;
they do not change the verdict. Exit code 1 unless the verdict is 7/7 PASS.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onServer(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool, _ addresses) error {
				report, err := conformance.Scan(ctx, pool)
				if err != nil {
					return err
				}
				return a.report(report, func(w io.Writer) { writeConformance(w, report, all) }, report.Passed(),
					fmt.Errorf("iu-core does not conform: %s (%s); to create what is missing, run: iuworker migrate up", report.Verdict, report.Core))
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show the objects that pass, too")
	return a.withJSON(cmd)
}

func writeConformance(w io.Writer, report conformance.Report, all bool) {
	columns(w, func(w io.Writer) {
		for _, class := range report.Classes {
			fmt.Fprintf(w, "%s\t%s\t%s\n", class.Class, class.Result, class.Note)
			for _, object := range report.Objects {
				if object.Class == class.Class && (all || object.Result != conformance.Pass) {
					fmt.Fprintf(w, "  %s\t%s\t%s\n", oneLine(&object.Name), object.Result, object.Note)
				}
			}
		}
	})
	for _, grant := range report.ForeignGrants {
		note := ""
		if grant.Adopted {
			note = " (in the adopted iu-core; its owner decides)"
		}
		fmt.Fprintf(w, "foreign grant: %s has %s on %s %s%s; to remove it, run: %s\n", oneLine(&grant.Grantee), strings.Join(grant.Privileges, ", "),
			grant.Kind, strings.Join(grant.Objects, ", "), note, grant.Statement)
	}
	fmt.Fprintf(w, "%s, %s\n", report.Verdict, report.Core)
}

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
