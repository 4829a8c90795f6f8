package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/operate"
)

func (a *app) verifyCommand() *cobra.Command {
	var asJSON bool
	findings, rest := 20, time.Duration(0)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check all data for anything lost, duplicated or orphaned",
		Long: `Checks all data and names what is wrong: every event is in the outbox, in a job, composed, a dead letter, or was removed by an
operator; every instance has its lineage, log row and emission; positions are unique and have no gaps. It changes nothing
and reads in short pieces while everything keeps running. Exit code 1 if something is wrong.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				report, err := operate.Verify(ctx, operate.VerifyConfig{Pool: pool, Findings: findings, Rest: rest, Done: a.logVerified(ctx)})
				if err != nil {
					return err
				}
				if err := a.print(asJSON, report, func(w io.Writer) { writeVerified(w, report) }); err != nil {
					return err
				}
				if !report.OK() {
					return wrongThings(report.Wrong)
				}
				return nil
			})
		},
	}
	cmd.Flags().Var(&intValue{&findings, 1, 10_000}, "findings", "problems listed per check")
	cmd.Flags().Var(&durationValue{to: &rest, min: 0, max: time.Minute}, "rest",
		"pause after each piece of work, about 100ms long, to leave room for others")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func wrongThings(n int64) error {
	if n == 1 {
		return errors.New("1 thing is not as it should be; the check that names it says what to do")
	}
	return fmt.Errorf("%d things are not as they should be; the checks that name them say what to do", n)
}

func (a *app) logVerified(ctx context.Context) func(operate.VerifyCheck) {
	return func(check operate.VerifyCheck) {
		a.logger.InfoContext(ctx, "Verify: looked at all of it", slog.String("check", check.Check),
			slog.Int64("rows", check.Looked), slog.Int64("wrong", check.Wrong))
	}
}

func writeVerified(w io.Writer, report operate.VerifyReport) {
	var looked int64
	columns(w, func(w io.Writer) {
		for _, check := range report.Checks {
			looked += check.Looked
			verdict := "ok"
			if check.Wrong > 0 {
				verdict = fmt.Sprintf("%d WRONG", check.Wrong)
			}
			fmt.Fprintf(w, "%s\t%s\t%d looked at\t%s\n", check.Check, verdict, check.Looked, check.Holds)
		}
	})
	for _, check := range report.Checks {
		writeFindings(w, check)
	}
	b := report.Balance
	fmt.Fprintf(w, "\ncame in    %d wait in the outbox, %d left it (%d merged), %d jobs by scale-outs\n", b.Waiting, b.Claimed, b.Merged, b.Scaleout)
	fmt.Fprintf(w, "went to    %d composed, %d in jobs, %d dead letters, %d rolled back, %d retried, %d dropped, %d lost\n",
		b.Composed, b.Unfinished, b.DeadLetters, b.RolledBack, b.Retried, b.Dropped, b.Lost)
	fmt.Fprintf(w, "looked at %d rows in %s: ", looked, short(time.Duration(report.Seconds*float64(time.Second))))
	if report.OK() {
		fmt.Fprintln(w, "nothing is wrong")
	} else {
		fmt.Fprintf(w, "%d are wrong\n", report.Wrong)
	}
}

func writeFindings(w io.Writer, check operate.VerifyCheck) {
	if check.Wrong == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s, %d wrong:\n", check.Check, check.Wrong)
	columns(w, func(w io.Writer) {
		for _, finding := range check.Findings {
			fmt.Fprintf(w, "  %s\t%s\n", oneLine(&finding.ID), oneLine(&finding.Problem))
		}
	})
	if left := check.Wrong - int64(len(check.Findings)); left > 0 {
		fmt.Fprintf(w, "  and %d more\n", left)
	}
	fmt.Fprintf(w, "  way out: %s\n", check.WayOut)
}
