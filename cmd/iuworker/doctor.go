package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/replica"
)

func (a *app) doctorCommand() *cobra.Command {
	var all bool
	poolSize := defaultWorkFlags().poolSize
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything and show how to fix what is wrong",
		Long: `Checks everything that composing and announcing events depends on: the connection, the server, the schema, privileges,
gates, workers, waits that are too long, and what slows the database down. Shows the checks that are not ok, the worst
last, then the commands to run. It changes nothing and takes ten seconds at most. Exit code 1 if a check fails.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(commandPool, false)
			at.pool.MinConns = 0 // the server may be unreachable
			pool, err := pgxpool.NewWithConfig(cmd.Context(), at.pool)
			if err != nil {
				return fmt.Errorf("open the connection pool: %w", err)
			}
			defer closePool(pool)
			standby, err := openStandby(cmd.Context(), at)
			if err != nil {
				return err
			}
			if standby != nil {
				defer closePool(standby)
			}
			reader := replica.New(replica.Config{Primary: pool, Standby: standby, What: "Doctor", Logger: slog.New(slog.DiscardHandler)})
			report := doctor.Run(cmd.Context(), doctor.Config{Pool: pool, Replica: reader, Direct: at.direct, Explain: a.explain, PoolSize: poolSize})
			return a.report(report, func(w io.Writer) { writeDoctor(w, report, all) }, report.OK(), errors.New(doctorVerdict(report)))
		},
	}
	cmd.Flags().Var(intValue(&poolSize, 2, 1000), "pool-size", "pool size of the workers, to compare with the server's limit")
	cmd.Flags().BoolVar(&all, "all", false, "show the checks that are ok or skipped, too")
	return a.withJSON(cmd)
}

// doctorVerdict says how many checks fail, and where to begin.
func doctorVerdict(report doctor.Report) string {
	failing := "fail"
	if report.Count(operate.HealthFail) == 1 {
		failing = "fails"
	}
	verdict := fmt.Sprintf("%d of %d checks %s", report.Count(operate.HealthFail), len(report.Checks), failing)
	first := slices.IndexFunc(report.Checks, func(c doctor.Check) bool { return c.Result == operate.HealthFail })
	if first < 0 {
		return verdict
	}
	verdict += "; begin with " + report.Checks[first].Name
	if next := report.Checks[first].Next; next != "" {
		verdict += ": " + next
	}
	return verdict
}

// writeDoctor writes the checks that are not ok, the worst last, then the commands to run, those of the worst first, then the
// summary.
func writeDoctor(w io.Writer, report doctor.Report, all bool) {
	skipped := skipReasons(report)
	var commands []string
	for _, result := range []operate.Health{operate.HealthOK, operate.HealthSkipped, operate.HealthWarn, operate.HealthFail} {
		var here []string
		for _, check := range report.Checks {
			hidden := result == operate.HealthOK || result == operate.HealthSkipped && skipped[check.Says] > 1
			if check.Result == result && (all || !hidden) {
				writeCheck(w, check)
				here = append(here, check.Commands...)
			}
		}
		commands = append(here, commands...)
	}
	writeCommands(w, commands)
	if len(commands) > 0 || all || report.Count(operate.HealthOK)+report.Count(operate.HealthSkipped) < len(report.Checks) {
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, doctorSummary(report, all))
}

// writeCommands writes the commands that fix or resume something, as lines to copy.
func writeCommands(w io.Writer, commands []string) {
	for i, command := range commands {
		if i == 0 {
			fmt.Fprintf(w, "\n%s\n", bold(w, "Run:"))
		}
		if !slices.Contains(commands[:i], command) {
			fmt.Fprintln(w, "  "+flat(command))
		}
	}
}

func writeCheck(w io.Writer, check doctor.Check) {
	fmt.Fprintf(w, "%s  %-14s  %s\n", stateAs(w, string(check.Result), fmt.Sprintf("%-7s", check.Result)), check.Name, flat(check.Says))
	for _, detail := range check.Details {
		fmt.Fprintf(w, "%25s- %s\n", "", oneLine(&detail))
	}
	if check.WayOut != "" {
		fmt.Fprintf(w, "%25sfix: %s\n", "", flat(check.WayOut))
	}
}

// doctorSummary returns one line: how many checks have each result.
func doctorSummary(report doctor.Report, all bool) string {
	var parts []string
	for _, kind := range []struct {
		result    operate.Health
		one, many string
	}{
		{operate.HealthFail, "check fails", "checks fail"},
		{operate.HealthWarn, "warning", "warnings"},
		{operate.HealthOK, "check ok", "checks ok"},
		{operate.HealthSkipped, "check skipped", "checks skipped"},
	} {
		if n := report.Count(kind.result); n > 0 {
			parts = append(parts, plural(n, kind.one, kind.many))
		}
	}
	reasons := skipReasons(report)
	for reason, n := range reasons {
		if len(reasons) == 1 && n > 1 {
			parts[len(parts)-1] += ": " + flat(reason) // the skipped checks are the last part
		}
	}
	summary := strings.Join(parts, ", ")
	switch {
	case report.Count(operate.HealthOK) == len(report.Checks):
		summary = fmt.Sprintf("all %d checks are ok", len(report.Checks))
		if !all {
			summary += "; --all shows them"
		}
	case !all:
		summary += "; --all shows all of them"
	}
	return summary
}

// skipReasons counts the skipped checks by their reason.
func skipReasons(report doctor.Report) map[string]int {
	reasons := map[string]int{}
	for _, check := range report.Checks {
		if check.Result == operate.HealthSkipped {
			reasons[check.Says]++
		}
	}
	return reasons
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return operate.Thousands(int64(n)) + " " + many
}
