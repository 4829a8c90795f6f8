package main

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
)

func (a *app) auditCommand() *cobra.Command {
	limit, before := 50, 0
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List what operators changed: who, what and when",
		Long:  `Lists the changes that operators made, the latest first, from the pages, River UI and the command line alike.`,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onDatabase(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool) error {
				lines, err := operate.Audit(ctx, pool, int64(before), limit+1)
				if err != nil {
					return err
				}
				more := len(lines) > limit
				lines = lines[:min(len(lines), limit)]
				return a.print(lines, func(w io.Writer) { writeAudit(w, lines, more) })
			})
		},
	}
	cmd.Flags().Var(intValue(&limit, 1, 10_000), "limit", "number of changes to list")
	cmd.Flags().Var(intValue(&before, 0, math.MaxInt), "before", "list the changes before this number (default the latest)")
	a.jsonFlag(cmd)
	return cmd
}

func writeAudit(w io.Writer, lines []operate.AuditLine, more bool) {
	if len(lines) == 0 {
		fmt.Fprintln(w, "no changes")
		return
	}
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, "NUMBER\tAT\tACTOR\tACTION\tDETAIL")
		for _, line := range lines {
			detail := string(line.Detail)
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", line.ID, stamp(line.At), oneLine(&line.Actor), oneLine(&line.Action), oneLine(&detail))
		}
	})
	if more {
		fmt.Fprintf(w, "there are more; to list them, run: iuworker audit --before %d\n", lines[len(lines)-1].ID)
	}
}
