package main

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/operate"
)

func (a *app) rollbackCommand() *cobra.Command {
	var actor string
	var execute, asJSON bool
	cmd := &cobra.Command{
		Use:   "rollback --actor ACTOR",
		Short: "Take away the instances that were composed for an actor",
		Long: `Shows what a rollback would delete: log rows, lineage, memberships and instances of that actor, and of nobody else.
With --execute it deletes them, all or none. It is blocked where an instance is used elsewhere. Announcements that
were made stay, and are marked as rolled back; the same events said again compose anew.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "actor"); err != nil {
				return err
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				report, err := rollBack(ctx, pool, actor, execute)
				if err != nil {
					return err
				}
				if err := a.print(asJSON, report, func(w io.Writer) { writeRollback(w, report) }); err != nil {
					return err
				}
				return rollbackFailure(report)
			})
		},
	}
	actorFlag(cmd, &actor, "whose instances")
	cmd.Flags().BoolVar(&execute, "execute", false, "delete them; without it nothing is changed")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// rollBack leaves an audit line in the transaction that deletes.
func rollBack(ctx context.Context, pool *pgxpool.Pool, actor string, execute bool) (report operate.RollbackReport, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if report, err = operate.Rollback(ctx, tx, actor, !execute); err != nil || report.Status != operate.RollbackRolledBack {
			return err
		}
		_, err = operate.RecordAudit(ctx, tx, systemUser(), "rollback", map[string]any{"actor": actor, "counts": report.Counts})
		return err
	})
	return report, err
}

func writeRollback(w io.Writer, report operate.RollbackReport) {
	if report.Counts == (operate.RollbackCounts{}) && len(report.BlockedBy) == 0 && rollbackFailure(report) == nil {
		fmt.Fprintf(w, "there is nothing to roll back: no instance is there that was composed for %s\n", flat(report.Actor))
		return
	}
	switch report.Status {
	case operate.RollbackReported:
		fmt.Fprintf(w, "a rollback of %s would delete:\n", report.Actor)
	case operate.RollbackRolledBack:
		fmt.Fprintf(w, "rolled back %s, deleted:\n", report.Actor)
	default:
		fmt.Fprintf(w, "rollback of %s: %s\n", report.Actor, report.Status)
	}
	columns(w, func(w io.Writer) {
		fmt.Fprintf(w, "  log rows\t%d\n", report.Counts.EventLog)
		fmt.Fprintf(w, "  lineage\t%d\n", report.Counts.Lineage)
		fmt.Fprintf(w, "  memberships\t%d\n", report.Counts.Membership)
		fmt.Fprintf(w, "  instances\t%d\n", report.Counts.Collection)
	})
	for _, blocker := range report.BlockedBy {
		fmt.Fprintf(w, "  %s is used by %s\n", blocker.InstanceKey, blocker.UsedBy)
	}
	if report.Status == operate.RollbackReported && report.Counts.EventLog > 0 {
		fmt.Fprintln(w, "nothing was changed; --execute deletes them")
	}
}

func rollbackFailure(report operate.RollbackReport) error {
	switch report.Status {
	case operate.RollbackReported, operate.RollbackRolledBack:
		return nil
	case operate.RollbackBlocked:
		if len(report.BlockedBy) == 0 {
			return fmt.Errorf("the rollback of %q is blocked, and nothing was deleted", report.Actor)
		}
		first := report.BlockedBy[0]
		return fmt.Errorf("the rollback of %q is blocked and nothing was deleted: %s is used by %s; remove that use first",
			report.Actor, first.InstanceKey, first.UsedBy)
	default:
		return fmt.Errorf("the rollback of %q was refused: %s: %s", report.Actor, report.Status, report.Detail)
	}
}
