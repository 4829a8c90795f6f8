package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/operate"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	poolSize := defaultWorkFlags().poolSize
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do: start here at night",
		Long: `Checks everything that has to be well for events to be composed and announced: the connection, the server, the
schema, privileges, gates, workers, what waits for too long, and what slows the database down. Each check says ok, warn,
fail, or why it was skipped; what is wrong comes with the way out and the next command. It changes nothing and takes ten
seconds at most. Exit code 1 where a check fails.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(commandPool, false)
			at.pool.MinConns = 0 // it need not be reachable
			pool, err := pgxpool.NewWithConfig(cmd.Context(), at.pool)
			if err != nil {
				return fmt.Errorf("open the connection pool: %w", err)
			}
			defer closePool(pool)
			report := operate.Doctor(cmd.Context(), operate.DoctorConfig{Pool: pool, Direct: at.direct, Explain: sentence, PoolSize: poolSize})
			if err := a.print(asJSON, report, func(w io.Writer) { writeDoctor(w, report) }); err != nil {
				return err
			}
			if !report.OK() {
				return fmt.Errorf("%s", doctorVerdict(report))
			}
			return nil
		},
	}
	cmd.Flags().Var(&intValue{&poolSize, 2, 1000}, "pool-size", "--pool-size of the workers, to compare with what the server allows")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// doctorVerdict says how it went, and where to begin.
func doctorVerdict(report operate.DoctorReport) string {
	verdict := fmt.Sprintf("%d of %d checks fail", report.Count(operate.HealthFail), len(report.Checks))
	first := slices.IndexFunc(report.Checks, func(c operate.DoctorCheck) bool { return c.Result == operate.HealthFail })
	if first < 0 {
		return verdict
	}
	verdict += "; begin with " + report.Checks[first].Check
	if next := report.Checks[first].Next; next != "" {
		verdict += ": " + next
	}
	return verdict
}

func writeDoctor(w io.Writer, report operate.DoctorReport) {
	for _, check := range report.Checks {
		fmt.Fprintf(w, "%-7s  %-14s  %s\n", check.Result, check.Check, flat(check.Says))
		for _, detail := range check.Details {
			fmt.Fprintf(w, "%25s  - %s\n", "", oneLine(&detail))
		}
		if check.WayOut != "" {
			fmt.Fprintf(w, "%25s  %s\n", "", flat(check.WayOut))
		}
		if check.Next != "" {
			fmt.Fprintf(w, "%25s  next: %s\n", "", flat(check.Next))
		}
	}
	fmt.Fprintf(w, "\n%d ok, %d warn, %d fail, %d skipped", report.Count(operate.HealthOK), report.Count(operate.HealthWarn),
		report.Count(operate.HealthFail), report.Count(operate.HealthSkipped))
	if report.Count(operate.HealthOK) == len(report.Checks) {
		fmt.Fprint(w, ": nothing is wrong; the numbers are shown by: iuworker status")
	}
	fmt.Fprintln(w)
}
