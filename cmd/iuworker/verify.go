package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/verify"
)

func (a *app) verifyCommand() *cobra.Command {
	findings, rest := 20, 0
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check all data for anything lost, duplicated or orphaned",
		Long: `Checks all data and names what is wrong: every event is in the outbox, in a job, composed, a dead letter, or was removed
by an operator; every instance has its lineage, log row and emission; positions are unique and have no gaps. It changes
nothing and reads in short pieces while everything keeps running. Exit code 1 if something is wrong.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				report, err := verify.Run(ctx, verify.Config{Pool: pool, Findings: findings, Rest: rest, Done: func(check verify.Check) {
					a.logger.InfoContext(ctx, "Verify: checked", slog.String("check", check.Name),
						slog.Int64("rows", check.Looked), slog.Int64("wrong", check.Wrong))
				}})
				if err != nil {
					return err
				}
				return a.report(report, func(w io.Writer) { writeVerified(w, report) }, report.OK(), wrongThings(report.Wrong))
			})
		},
	}
	cmd.Flags().Var(intValue(&findings, 1, 10_000), "findings", "problems listed per check")
	cmd.Flags().Var(intValue(&rest, 0, 100), "rest",
		"pause after each piece of work this many times as long as it took, to leave room for others")
	return a.withJSON(cmd)
}

func wrongThings(n int64) error {
	if n == 1 {
		return errors.New("1 problem; its check says how to fix it")
	}
	return fmt.Errorf("%d problems; their checks say how to fix them", n)
}

func writeVerified(w io.Writer, report verify.Report) {
	var looked int64
	columns(w, func(w io.Writer) {
		for _, check := range report.Checks {
			looked += check.Looked
			verdict := state(w, "ok")
			if check.Wrong > 0 {
				verdict = operate.Thousands(check.Wrong) + " " + state(w, "WRONG")
			}
			fmt.Fprintf(w, "%s\t%s\t%s rows\t%s\n", check.Name, verdict, operate.Thousands(check.Looked), check.Holds)
		}
	})
	for _, check := range report.Checks {
		writeFindings(w, check)
	}
	b := report.Balance
	n := operate.Thousands
	fmt.Fprintf(w, "\nCame in:       %s rows left the outbox (%s merged), %s wait in it; scale-outs added %s jobs\n",
		n(b.Claimed), n(b.Merged), n(b.Waiting), n(b.Scaleout))
	fmt.Fprintf(w, "Went to:       %s composed, %s in jobs, %s rolled back, %s lost\n", n(b.Composed), n(b.Unfinished), n(b.RolledBack), n(b.Lost))
	fmt.Fprintf(w, "Dead letters:  %s jobs ended as dead letters, %s of them retried since, %s dropped, %s remain\n",
		n(b.DeadLetters+b.Retried+b.Dropped), n(b.Retried), n(b.Dropped), n(b.DeadLetters))
	fmt.Fprintf(w, "Checked %s rows in %s: ", n(looked), short(seconds(report.Seconds)))
	if report.OK() {
		fmt.Fprintln(w, "nothing is wrong")
	} else {
		fmt.Fprintf(w, "%s problems\n", n(report.Wrong))
	}
}

func writeFindings(w io.Writer, check verify.Check) {
	if check.Wrong == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s, %d wrong:\n", check.Name, check.Wrong)
	columns(w, func(w io.Writer) {
		for _, finding := range check.Findings {
			fmt.Fprintf(w, "  %s\t%s\n", oneLine(&finding.ID), oneLine(&finding.Problem))
		}
	})
	if left := check.Wrong - int64(len(check.Findings)); left > 0 {
		fmt.Fprintf(w, "  and %d more\n", left)
	}
	fmt.Fprintf(w, "  fix: %s\n", check.WayOut)
}
