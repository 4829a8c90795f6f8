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
	limit, before, more := 50, 0, false
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List what operators changed: who, what and when",
		Long:  `Lists the changes that operators made, the latest first, from the pages, River UI and the command line alike.`,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) (lines []operate.AuditLine, err error) {
			lines, err = operate.Audit(ctx, pool, int64(before), limit+1)
			lines, more = firstOf(lines, limit)
			return lines, err
		}, func(w io.Writer, lines []operate.AuditLine) { writeAudit(w, lines, more) }),
	}
	cmd.Flags().Var(intValue(&limit, 1, 10_000), "limit", "number of changes to list")
	cmd.Flags().Var(intValue(&before, 0, math.MaxInt), "before", "list the changes before this number (default the latest)")
	return a.withJSON(cmd)
}

func writeAudit(w io.Writer, lines []operate.AuditLine, more bool) {
	table(w, lines, "no changes", "NUMBER\tAT\tACTOR\tACTION\tDETAIL", func(w io.Writer, line operate.AuditLine) {
		detail := string(line.Detail)
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", line.ID, stamp(line.At), oneLine(&line.Actor), oneLine(&line.Action), oneLine(&detail))
	})
	if more {
		fmt.Fprintf(w, "there are more; to list them, run: iuworker audit --before %d\n", lines[len(lines)-1].ID)
	}
}
